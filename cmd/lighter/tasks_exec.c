// SPDX-License-Identifier: Apache-2.0
/*
 * tasks exec: another process in a running container. Its spec is the container's own process with
 * other arguments; a user's name is looked up in what the container sees, through /proc/<pid>/root.
 */
#include <fcntl.h>
#include "api/containerd/services/tasks/v1/tasks.pb-c.h"
#include "base/fd.h"
#include "base/hash.h"
#include "cmd/lighter/commands.h"
#include "cmd/lighter/process.h"
#include "spec/container_spec.h"
#include "spec/identifier.h"
#include "spec/runtime_spec.h"

static int process_spec(Cli *cli, const Args *args, const TaskTypes__Process *task, char **ret,
                        Err *err)
{
        json_t *spec CLEANUP(json_decrefp) = NULL;
        char *text CLEANUP(cleanup_free) = NULL;
        int root_fd CLEANUP(cleanup_fd) = -1;
        Containers__Container *c;
        char path[40];
        json_t *process;
        int r;

        r = container_get(cli, args_arg(args, 0), &c, err);
        if (r == 0)
                r = container_spec(c, &spec, err);
        if (r < 0)
                return r;
        process = json_object_get(spec, "process");
        if (!json_is_object(process))
                return err_set(err, FAILED_PRECONDITION,
                               "the spec of container \"%s\" has no process", c->id);
        container_spec_args(spec, (const char *const *)args->v + 1);
        json_object_set_new(process, "terminal", json_boolean(args_bool(args, "tty")));
        if (args_given(args, "cwd"))
                json_object_set_new(process, "cwd", json_string(args_str(args, "cwd")));
        if (args_given(args, "user")) {
                snprintf(path, sizeof(path), "/proc/%u/root", task->pid);
                root_fd = open(path, O_PATH | O_DIRECTORY | O_CLOEXEC);
                r = container_spec_user(spec, root_fd, args_str(args, "user"), err);
                if (r < 0)
                        return r;
        }
        text = json_text(process);
        *ret = arena_strdup(&cli->arena, text);
        return 0;
}

static int create_exec(Session *s, const char *spec, Err *err)
{
        Tasks__ExecProcessRequest req = TASKS__EXEC_PROCESS_REQUEST__INIT;
        Google__Protobuf__Any any = GOOGLE__PROTOBUF__ANY__INIT;
        int r;

        any.type_url = (char *)(uintptr_t)RUNTIME_PROCESS_TYPE_URL;
        any.value.data = (uint8_t *)(uintptr_t)spec;
        any.value.len = strlen(spec);
        req.container_id = s->id;
        req.exec_id = s->exec_id;
        req.stdin = s->in;
        req.stdout = s->out;
        req.stderr = s->err;
        req.terminal = s->terminal;
        req.spec = &any;
        r = client_call_empty(s->cli->client, SVC_TASKS "Exec", &req, err);
        s->created = r == 0;
        return r;
}

int cmd_tasks_exec(Cli *cli, const Args *args, Err *err)
{
        Session s CLEANUP(session_done) = SESSION_INIT;
        TaskTypes__Process *task;
        char name[13], *spec = NULL;
        int code = 0, r;

        r = cli_need_args(args, 2, "container id and command", err);
        if (r < 0)
                return r;
        random_name(name, sizeof(name) - 1);
        s.cli = cli;
        s.id = args_arg(args, 0);
        s.exec_id = args_given(args, "exec-id") ? args_str(args, "exec-id")
                                                : arena_strdup(&cli->arena, name);
        s.terminal = args_bool(args, "tty");
        r = identifier_check("exec id", s.exec_id, err);
        if (r == 0)
                r = cli_connect(cli, err);
        if (r == 0)
                r = task_get(cli, s.id, NULL, &task, err);
        if (r == 0)
                r = process_spec(cli, args, task, &spec, err);
        if (r == 0)
                r = session_io(&s, args, err);
        if (r == 0)
                r = create_exec(&s, spec, err);
        if (r == 0)
                r = session_start(&s, err);
        if (r == 0 && !s.detach)
                r = session_run(&s, &code, err);
        return r < 0 ? r : code;
}
