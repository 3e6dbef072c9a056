/* SPDX-License-Identifier: Apache-2.0 */
/*
 * One epoll set for everything: descriptors, an eventfd for posted work, a signalfd per signal;
 * timers are a heap that sets epoll's time-out. A removed source is unhooked at once and freed
 * after the current batch of events, because the batch may still point at it.
 */
#include "base/loop.h"

#include <errno.h>
#include <pthread.h>
#include <sys/eventfd.h>
#include <sys/signalfd.h>
#include <unistd.h>
#include "base/clock.h"
#include "base/fd.h"
#include "base/list.h"
#include "base/lock.h"
#include "base/vec.h"

enum { BATCH = 64 };

typedef enum SourceKind { SOURCE_FD, SOURCE_TIMER, SOURCE_SIGNAL } SourceKind;

struct LoopSource {
        Loop *loop;
        SourceKind kind;
        int dead;
        int fd;           /* SOURCE_SIGNAL: ours */
        uint64_t at_ns;   /* timers: 0 when stopped */
        size_t heap_slot; /* timers: index + 1, 0 when not in the heap */
        union {
                LoopFdFn on_fd;
                LoopTimerFn on_timer;
                LoopSignalFn on_signal;
        };
        void *ctx;
        LoopSource *next_dead;
};

typedef struct Post {
        List link;
        LoopPostFn fn;
        void *ctx;
} Post;

struct Loop {
        int epoll_fd, event_fd;
        pthread_t thread;
        int quitting, exit_code;
        VEC(LoopSource *) heap; /* timers, earliest first */
        LoopSource *dead;
        Lock lock; /* posts */
        List posts;
        int n_sources;
};

static void heap_put(Loop *l, size_t i, LoopSource *s)
{
        l->heap.v[i] = s;
        s->heap_slot = i + 1;
}

static void heap_up(Loop *l, size_t i)
{
        LoopSource *s = l->heap.v[i];

        for (; i > 0 && l->heap.v[(i - 1) / 2]->at_ns > s->at_ns; i = (i - 1) / 2)
                heap_put(l, i, l->heap.v[(i - 1) / 2]);
        heap_put(l, i, s);
}

static void heap_down(Loop *l, size_t i)
{
        LoopSource *s = l->heap.v[i];

        for (size_t child; (child = 2 * i + 1) < l->heap.n; i = child) {
                if (child + 1 < l->heap.n && l->heap.v[child + 1]->at_ns < l->heap.v[child]->at_ns)
                        child++;
                if (l->heap.v[child]->at_ns >= s->at_ns)
                        break;
                heap_put(l, i, l->heap.v[child]);
        }
        heap_put(l, i, s);
}

static void heap_remove(Loop *l, LoopSource *s)
{
        size_t i = s->heap_slot - 1;
        LoopSource *last;

        if (!s->heap_slot)
                return;
        s->heap_slot = 0;
        last = VEC_POP(&l->heap);
        if (last == s)
                return;
        heap_put(l, i, last);
        heap_up(l, i);
        heap_down(l, last->heap_slot - 1);
}

int loop_new(Loop **ret, Err *err)
{
        Loop *l = mem_new(Loop);
        struct epoll_event ev = {.events = EPOLLIN, .data.ptr = l};

        l->epoll_fd = epoll_create1(EPOLL_CLOEXEC);
        l->event_fd = eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK);
        lock_init(&l->lock, LOCK_LOOP);
        list_init(&l->posts);
        l->thread = pthread_self();
        if (l->epoll_fd < 0 || l->event_fd < 0 ||
            epoll_ctl(l->epoll_fd, EPOLL_CTL_ADD, l->event_fd, &ev) < 0) {
                int r = err_sys(err, errno, "event loop");

                loop_free(l);
                return r;
        }
        *ret = l;
        return 0;
}

static void bury(Loop *l)
{
        while (l->dead) {
                LoopSource *s = l->dead;

                l->dead = s->next_dead;
                free(s);
        }
}

static void run_posts(Loop *l)
{
        List mine;

        list_init(&mine);
        lock_take(&l->lock);
        LIST_FOREACH (p, &l->posts, Post, link) {
                list_remove(&p->link);
                list_append(&mine, &p->link);
        }
        lock_drop(&l->lock);
        LIST_FOREACH (p, &mine, Post, link) {
                list_remove(&p->link);
                p->fn(p->ctx);
                free(p);
        }
}

Loop *loop_free(Loop *l)
{
        if (!l)
                return NULL;
        run_posts(l);
        bury(l);
        assert(l->n_sources == 0);
        VEC_DONE(&l->heap);
        fd_close(l->epoll_fd);
        fd_close(l->event_fd);
        lock_done(&l->lock);
        free(l);
        return NULL;
}

int loop_is_mine(const Loop *l)
{
        return pthread_equal(l->thread, pthread_self());
}

static LoopSource *source_new(Loop *l, SourceKind kind, void *ctx)
{
        LoopSource *s = mem_new(LoopSource);

        assert(loop_is_mine(l));
        s->loop = l;
        s->kind = kind;
        s->ctx = ctx;
        s->fd = -1;
        l->n_sources++;
        return s;
}

static int watch(LoopSource *s, int fd, uint32_t events, LoopSource **ret, Err *err)
{
        struct epoll_event ev = {.events = events, .data.ptr = s};

        if (epoll_ctl(s->loop->epoll_fd, EPOLL_CTL_ADD, fd, &ev) < 0) {
                int r = err_sys(err, errno, "epoll_ctl");

                loop_remove(s);
                return r;
        }
        s->fd = fd;
        *ret = s;
        return 0;
}

int loop_add_fd(Loop *l, int fd, uint32_t events, LoopFdFn fn, void *ctx, LoopSource **ret,
                Err *err)
{
        LoopSource *s = source_new(l, SOURCE_FD, ctx);

        s->on_fd = fn;
        return watch(s, fd, events, ret, err);
}

int loop_set_events(LoopSource *s, uint32_t events)
{
        struct epoll_event ev = {.events = events, .data.ptr = s};

        return epoll_ctl(s->loop->epoll_fd, EPOLL_CTL_MOD, s->fd, &ev);
}

LoopSource *loop_add_timer(Loop *l, uint64_t at_ns, LoopTimerFn fn, void *ctx)
{
        LoopSource *s = source_new(l, SOURCE_TIMER, ctx);

        s->on_timer = fn;
        loop_timer_set(s, at_ns);
        return s;
}

void loop_timer_set(LoopSource *s, uint64_t at_ns)
{
        assert(s->kind == SOURCE_TIMER && loop_is_mine(s->loop));
        heap_remove(s->loop, s);
        s->at_ns = at_ns;
        if (at_ns == 0)
                return;
        VEC_PUSH(&s->loop->heap, s);
        heap_up(s->loop, s->loop->heap.n - 1);
}

int loop_add_signal(Loop *l, int signo, LoopSignalFn fn, void *ctx, LoopSource **ret, Err *err)
{
        LoopSource *s = source_new(l, SOURCE_SIGNAL, ctx);
        sigset_t set;
        int fd;

        sigemptyset(&set);
        sigaddset(&set, signo);
        pthread_sigmask(SIG_BLOCK, &set, NULL);
        s->on_signal = fn;
        fd = signalfd(-1, &set, SFD_CLOEXEC | SFD_NONBLOCK);
        if (fd < 0) {
                int r = err_sys(err, errno, "signalfd");

                loop_remove(s);
                return r;
        }
        if (watch(s, fd, EPOLLIN, ret, err) < 0) {
                fd_close(fd);
                return -err->code;
        }
        return 0;
}

LoopSource *loop_remove(LoopSource *s)
{
        Loop *l;

        if (!s)
                return NULL;
        l = s->loop;
        assert(loop_is_mine(l) && !s->dead);
        heap_remove(l, s);
        if (s->fd >= 0)
                epoll_ctl(l->epoll_fd, EPOLL_CTL_DEL, s->fd, NULL);
        if (s->kind == SOURCE_SIGNAL)
                fd_close(s->fd);
        s->dead = 1;
        s->next_dead = l->dead;
        l->dead = s;
        l->n_sources--;
        return NULL;
}

static void dispatch_signal(LoopSource *s)
{
        struct signalfd_siginfo info;

        while (!s->dead && read(s->fd, &info, sizeof(info)) == sizeof(info))
                s->on_signal(s->ctx, (int)info.ssi_signo);
}

static void dispatch(LoopSource *s, uint32_t events)
{
        if (s->dead)
                return;
        switch (s->kind) {
        case SOURCE_FD:
                s->on_fd(s->ctx, s->fd, events);
                break;
        case SOURCE_SIGNAL:
                dispatch_signal(s);
                break;
        case SOURCE_TIMER:
                break;
        }
}

static void run_timers(Loop *l)
{
        uint64_t now = time_mono_ns();

        while (l->heap.n > 0 && l->heap.v[0]->at_ns <= now) {
                LoopSource *s = l->heap.v[0];

                loop_timer_set(s, 0);
                s->on_timer(s->ctx);
        }
}

static int wait_ms(const Loop *l, int timeout_ms)
{
        uint64_t now, left;

        if (l->heap.n == 0)
                return timeout_ms;
        now = time_mono_ns();
        if (l->heap.v[0]->at_ns <= now)
                return 0;
        left = (l->heap.v[0]->at_ns - now + NS_PER_MS - 1) / NS_PER_MS;
        left = MIN(left, (uint64_t)INT32_MAX);
        return timeout_ms < 0 ? (int)left : MIN(timeout_ms, (int)left);
}

void loop_once(Loop *l, int timeout_ms)
{
        struct epoll_event events[BATCH];
        int n = epoll_wait(l->epoll_fd, events, BATCH, wait_ms(l, timeout_ms));

        for (int i = 0; i < n; i++) {
                uint64_t count;

                if (events[i].data.ptr != l) {
                        dispatch(events[i].data.ptr, events[i].events);
                        continue;
                }
                (void)!read(l->event_fd, &count, sizeof(count));
                run_posts(l);
        }
        run_timers(l);
        bury(l);
}

int loop_run(Loop *l, Err *err)
{
        l->thread = pthread_self();
        while (!__atomic_load_n(&l->quitting, __ATOMIC_ACQUIRE))
                loop_once(l, -1);
        return l->exit_code;
}

static void wake(Loop *l)
{
        uint64_t one = 1;

        (void)!write(l->event_fd, &one, sizeof(one));
}

void loop_quit(Loop *l, int exit_code)
{
        l->exit_code = exit_code;
        __atomic_store_n(&l->quitting, 1, __ATOMIC_RELEASE);
        wake(l);
}

void loop_post(Loop *l, LoopPostFn fn, void *ctx)
{
        Post *p = mem_new(Post);
        int was_empty;

        p->fn = fn;
        p->ctx = ctx;
        lock_take(&l->lock);
        was_empty = list_empty(&l->posts);
        list_append(&l->posts, &p->link);
        lock_drop(&l->lock);
        if (was_empty)
                wake(l);
}
