/* resource_health.h: handlers for operators and for clients that ask what the server takes. */
#ifndef SERVER_RESOURCE_HEALTH_H
#define SERVER_RESOURCE_HEALTH_H

#include "server/http.h"

handler get_health;  /* GET /health */
handler get_metrics; /* GET /metrics: for administrators, and for this machine */
handler get_limits;  /* GET /api/v1/limits */

#endif
