/* SPDX-License-Identifier: Apache-2.0 */
/*
 * What a worker and its parent say to each other: one message per packet of a SOCK_SEQPACKET socket
 * pair, with descriptors beside it where the table says so. Both are the same build, so the
 * encoding is private to it.
 *
 * A worker reads bytes from outside and may have been taken over by them: whatever arrives from it
 * is decoded with every length, enum and end checked, and means no more than that the worker asks
 * for it.
 *
 *      parent                      worker
 *                <- HELLO          its namespaces exist and want their id map
 *      APPLY  ->                   fds: blob, target folder
 *                <- XATTR          fd: the file          }
 *                <- MKNOD          fd: the folder        } each waits for REPLY
 *                <- PARENT         fd: the folder        }
 *                <- DONE | FAILED
 *      IMPORT ->                   fds: archive, data pipe
 *                <- ENTRY          then exactly its size in bytes on the data pipe
 *                <- DONE | FAILED
 *      COMPARE ->                  fds: data pipe, then the trees that `trees` names
 *                <- OPAQUE         fd: a folder of the hint; waits for REPLY
 *                                  the layer on the data pipe, closed at its end
 *                <- DONE | FAILED
 */
#pragma once

#include "base/err.h"
#include "spec/digest.h"

enum {
        WORKER_MSG_MAX = 96 * 1024, /* an extended attribute of 64 KiB and its names fit */
        WORKER_FDS_MAX = 4,
};

typedef enum WorkerMsgType {
        WORKER_MSG_NONE,
        WORKER_MSG_HELLO,
        WORKER_MSG_APPLY,
        WORKER_MSG_IMPORT,
        WORKER_MSG_COMPARE,
        WORKER_MSG_XATTR,
        WORKER_MSG_MKNOD,
        WORKER_MSG_PARENT,
        WORKER_MSG_OPAQUE,
        WORKER_MSG_REPLY,
        WORKER_MSG_ENTRY,
        WORKER_MSG_DONE,
        WORKER_MSG_FAILED,
        WORKER_MSG_LAST = WORKER_MSG_FAILED,
} WorkerMsgType;

/* How a stream is compressed. SNIFF looks at the first bytes and takes what it does not know as it
 * is. */
typedef enum WorkerCodec {
        WORKER_CODEC_RAW,
        WORKER_CODEC_SNIFF,
        WORKER_CODEC_LAST = WORKER_CODEC_SNIFF
} WorkerCodec;

/* What a stream that is written is compressed with. */
typedef enum WorkerFormat {
        WORKER_FORMAT_RAW,
        WORKER_FORMAT_GZIP,
        WORKER_FORMAT_ZSTD,
        WORKER_FORMAT_LAST = WORKER_FORMAT_ZSTD
} WorkerFormat;

typedef struct WorkerApplyMsg {
        uint32_t codec;   /* WorkerCodec */
        uint32_t overlay; /* whiteouts as overlayfs has them, instead of removing what they name */
        uint64_t max_bytes; /* of all files together */
        uint64_t max_entries;
        const char *root; /* how messages name the target */
} WorkerApplyMsg;

typedef struct WorkerImportMsg {
        uint64_t max_bytes;
        uint64_t max_entries;
} WorkerImportMsg;

/* The trees that come with COMPARE, in this order; one that does not come is empty. */
enum {
        WORKER_TREE_LOWER = 1,
        WORKER_TREE_UPPER = 2,
        WORKER_TREE_HINT = 4, /* overlayfs' folder in which upper differs from lower */
        WORKER_TREE_ALL = 7,
};

typedef struct WorkerCompareMsg {
        uint32_t format;  /* WorkerFormat */
        uint32_t trees;   /* WORKER_TREE_* */
        uint32_t bounded; /* no time later than the following goes into the layer */
        uint64_t sec;     /* two's complement */
        uint32_t nsec;
} WorkerCompareMsg;

typedef struct WorkerXattrMsg {
        const char *name;
        const uint8_t *value;
        uint32_t n_value;
} WorkerXattrMsg;

typedef struct WorkerMknodMsg {
        const char *name;
        uint32_t mode, major, minor, uid, gid;
} WorkerMknodMsg;

typedef struct WorkerParentMsg {
        const char *path; /* of the folder below the target */
} WorkerParentMsg;

typedef struct WorkerReplyMsg {
        uint32_t errnum; /* 0: done */
} WorkerReplyMsg;

typedef enum WorkerEntryType {
        WORKER_ENTRY_FILE,
        WORKER_ENTRY_SYMLINK,
        WORKER_ENTRY_LAST = WORKER_ENTRY_SYMLINK
} WorkerEntryType;

typedef struct WorkerEntryMsg {
        uint32_t type; /* WorkerEntryType */
        uint64_t size;
        const char *name, *link;
} WorkerEntryMsg;

typedef struct WorkerDoneMsg {
        uint64_t size; /* of the uncompressed stream */
        uint64_t entries;
        const char *digest; /* of the uncompressed stream or ""; decoding checks its form */
        uint64_t sent;      /* bytes on the data pipe; COMPARE only */
} WorkerDoneMsg;

typedef struct WorkerFailedMsg {
        uint32_t code; /* ErrCode */
        const char *text;
} WorkerFailedMsg;

typedef struct WorkerMsg {
        WorkerMsgType type;
        union {
                WorkerApplyMsg apply;
                WorkerImportMsg import;
                WorkerCompareMsg compare;
                WorkerXattrMsg xattr;
                WorkerMknodMsg mknod;
                WorkerParentMsg parent;
                WorkerReplyMsg reply;
                WorkerEntryMsg entry;
                WorkerDoneMsg done;
                WorkerFailedMsg failed;
        };
} WorkerMsg;

/* Into buf of WORKER_MSG_MAX bytes. RESOURCE_EXHAUSTED for what does not fit. */
int worker_msg_encode(const WorkerMsg *m, uint8_t *buf, size_t *ret_len, Err *err);
/* Strings borrow from bytes. INTERNAL "malformed message from worker". */
int worker_msg_decode(const uint8_t *bytes, size_t n, WorkerMsg *ret, Err *err);

/* One packet each; both block. timeout_ms -1 waits for ever. Descriptors that come are O_CLOEXEC
 * and the caller's, those not come are -1; on failure there are none. buf holds WORKER_MSG_MAX
 * bytes and what *ret borrows. UNAVAILABLE: the other end is gone. DEADLINE_EXCEEDED. */
int worker_msg_send(int sock, const WorkerMsg *m, const int *fds, size_t n_fds, Err *err);
int worker_msg_recv(int sock, int timeout_ms, uint8_t *buf, WorkerMsg *ret,
                    int ret_fds[WORKER_FDS_MAX], Err *err);
