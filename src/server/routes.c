/* routes.c: the one table of the server: what there is, who may, who answers. */
#include "server/http.h"
#include "server/resource_health.h"

const struct route server_routes[] = {
    {"GET", "/health", PERMISSION_PUBLIC, get_health, 1},
    {"GET", "/metrics", PERMISSION_PUBLIC, get_metrics, 1},
    {"GET", "/api/v1/limits", PERMISSION_PUBLIC, get_limits, 1},
    {0},
};
