/* limits.h: what one request may carry, as docs/protocol.md says and GET /api/v1/limits answers. */
#ifndef SERVER_LIMITS_H
#define SERVER_LIMITS_H

#define LIMIT_BATCH_BYTES (8u << 20) /* a body of streams or of small files */
#define LIMIT_JSON_BYTES (1u << 20)  /* other JSON */
#define LIMIT_STREAMS 10000          /* in one request */
#define LIMIT_SMALL_FILES 1000       /* in one request; each BLOB_SMALL_BYTES at most */

#endif
