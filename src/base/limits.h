/* SPDX-License-Identifier: Apache-2.0 */
/* Every limit that somebody outside can run into, in one place. Bytes unless the name says
 * otherwise. */
#pragma once

enum {
        /* messages */
        LIMIT_GRPC_MESSAGE =
                16 * 1024 * 1024, /* default of max_recv_message_size and max_send_message_size */
        LIMIT_TTRPC_MESSAGE = 4 * 1024 * 1024, /* the protocol's own */
        LIMIT_PB_DEPTH = 32,                   /* nesting of a protobuf message */
        LIMIT_PB_FIELDS = 1024 * 1024,         /* fields in one message, all levels together */
        LIMIT_PB_ARENA_FACTOR = 8, /* a call's arena holds this many times its message ... */
        LIMIT_PB_ARENA_BASE = 1024 * 1024, /* ... and this */

        /* connections */
        LIMIT_CONNECTIONS = 4096,
        LIMIT_HEADER_LIST = 64 * 1024,    /* sum of names and values of one request */
        LIMIT_STREAMS = 16384,            /* concurrent streams of one connection */
        LIMIT_STREAM_WINDOW = 256 * 1024, /* HTTP/2 receive window of a stream */
        LIMIT_CONN_WINDOW = 1024 * 1024,  /* HTTP/2 receive window of a connection */
        LIMIT_STREAM_SENDBUF =
                64 * 1024, /* a stream is writable while less than this waits to be sent */
        LIMIT_CONN_INBOX = 64 * 1024 * 1024,  /* unfinished messages of one connection */
        LIMIT_CONN_OUTBOX = 64 * 1024 * 1024, /* answers that wait for one peer; then it waits */
        LIMIT_RESETS_BURST = 1000,            /* streams reset by the peer: burst ... */
        LIMIT_RESETS_PER_SEC = 33,            /* ... and rate */
        LIMIT_CONTROL_FRAMES = 10000,         /* PING, SETTINGS and empty frames without progress */
        LIMIT_SHIM_CALLS = 4096,              /* calls in flight to one shim */

        /* events */
        LIMIT_SUBSCRIBER_QUEUE =
                8 * 1024 * 1024, /* bytes waiting for one subscriber; past it, it is dropped */
        LIMIT_SUBSCRIBERS = 1024,

        /* metadata */
        LIMIT_IDENTIFIER = 76, /* namespaces, container ids, exec ids */
        LIMIT_LABEL = 4096,    /* key and value together */
        LIMIT_DB_NAME = 400,   /* longer names are stored as a prefix and a digest */
        LIMIT_FILTER = 64 * 1024,
        LIMIT_MASK_WORK = 4 * 1024 * 1024, /* paths of an update mask times labels it is used on */
        LIMIT_REF = 4096,                  /* ingest reference */
        LIMIT_MOUNT_TEMPLATES = 1024 * 1024, /* what templates of one mount become */

        /* documents */
        LIMIT_DOCUMENT = 4 * 1024 * 1024, /* manifest, index, image config, config.json */
        LIMIT_JSON_DEPTH = 64,
        LIMIT_CONFIG_FILE = 1024 * 1024,
        LIMIT_BOOTSTRAP = 10 * 1024 * 1024, /* stdin of `shim start` */

        /* archives */
        LIMIT_TAR_NAME = 4096,
        LIMIT_TAR_PAX = 1024 * 1024,
        LIMIT_TAR_XATTR = 64 * 1024,
        LIMIT_TAR_SPARSE = 65536, /* data regions of one sparse file */
        LIMIT_TAR_DEPTH = 256,
        LIMIT_ZSTD_WINDOW_LOG = 27,

        /* processes and threads */
        LIMIT_WORKER_FDS = 1024,
        LIMIT_WORKER_MEMORY_MB = 1024, /* address space */
        LIMIT_POOL_THREADS = 16,
        LIMIT_EXECS = 1024, /* exec processes of one container */
        LIMIT_SOCKET_PATH = 104,

        /* times, in milliseconds */
        LIMIT_WORKER_START_MS = 10000,
        LIMIT_SHIM_START_MS = 10000,
        LIMIT_SHIM_LOAD_MS = 5000,
        LIMIT_SHIM_CLEANUP_MS = 5000,
        LIMIT_SHIM_SHUTDOWN_MS = 3000,
        LIMIT_TASK_STATE_MS = 2000,
        LIMIT_SHIM_CALL_MS = 100000,
        LIMIT_SHIM_CHECKPOINT_MS = 600000,
        LIMIT_SHIM_STATS_MS = 2000,
        LIMIT_IO_SETUP_MS = 30000,
        LIMIT_IO_DRAIN_MS = 10000,
        LIMIT_EVENT_ATTEMPT_MS = 5000,
        LIMIT_EVENT_QUEUE = 2048, /* events a shim keeps for the daemon */
        LIMIT_KEEPALIVE_MS = 7200000,
        LIMIT_GOAWAY_MS = 500, /* a drained connection may linger this long */
};
