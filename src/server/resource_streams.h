/* resource_streams.h: handlers of streams. */
#ifndef SERVER_RESOURCE_STREAMS_H
#define SERVER_RESOURCE_STREAMS_H

#include "server/http.h"

handler post_heads;   /* POST /api/v1/experiments/{experiment}/streams/heads */
handler post_streams; /* POST /api/v1/experiments/{experiment}/streams */
handler list_streams; /* GET  /api/v1/experiments/{experiment}/streams */
handler get_stream;   /* GET  /api/v1/experiments/{experiment}/streams/{stream} */

#endif
