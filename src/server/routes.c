/* routes.c: the one table of the server: what there is, who may, who answers. */
#include "server/http.h"
#include "server/limits.h"
#include "server/resource_accounts.h"
#include "server/resource_device.h"
#include "server/resource_health.h"

const struct route server_routes[] = {
    {"GET", "/health", PERMISSION_PUBLIC, get_health, 1},
    {"GET", "/metrics", PERMISSION_PUBLIC, get_metrics, 1},
    {"GET", "/api/v1/limits", PERMISSION_PUBLIC, get_limits, 1},
    {"GET", "/api/v1/me", PERMISSION_USER, get_me, 1},
    {"GET", "/api/v1/tokens", PERMISSION_USER, get_tokens, 1},
    {"POST", "/api/v1/tokens", PERMISSION_USER, post_token, LIMIT_JSON_BYTES},
    {"DELETE", "/api/v1/tokens/{token}", PERMISSION_USER, delete_token, LIMIT_JSON_BYTES},
    {"GET", "/api/v1/namespaces", PERMISSION_USER, get_namespaces, 1},
    {"POST", "/api/v1/namespaces", PERMISSION_USER, post_namespace, LIMIT_JSON_BYTES},
    {"GET", "/api/v1/namespaces/{namespace}/members", PERMISSION_READ, get_members, 1},
    {"GET", "/api/v1/namespaces/{namespace}/members/{username}", PERMISSION_READ, get_member, 1},
    {"PUT", "/api/v1/namespaces/{namespace}/members/{username}", PERMISSION_OWN, put_member,
     LIMIT_JSON_BYTES},
    {"DELETE", "/api/v1/namespaces/{namespace}/members/{username}", PERMISSION_OWN, delete_member,
     LIMIT_JSON_BYTES},
    {"POST", "/api/v1/device/start", PERMISSION_PUBLIC, post_device_start, DEVICE_MAX_FORM_BYTES},
    {"POST", "/api/v1/device/poll", PERMISSION_PUBLIC, post_device_poll, DEVICE_MAX_FORM_BYTES},
    {"GET", "/device", PERMISSION_PUBLIC, get_device_page, 1},
    {"POST", "/device", PERMISSION_PUBLIC, post_device_sign_in, DEVICE_MAX_FORM_BYTES},
    {"POST", "/device/decide", PERMISSION_PUBLIC, post_device_decide, DEVICE_MAX_FORM_BYTES},
    {"GET", "/device/style.css", PERMISSION_PUBLIC, get_device_style, 1},
    {0},
};
