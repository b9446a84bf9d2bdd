/* routes.c: the one table of the server: what there is, who may, who answers. */
#include "server/http.h"
#include "server/limits.h"
#include "server/resource_accounts.h"
#include "server/resource_device.h"
#include "server/resource_experiments.h"
#include "server/resource_files.h"
#include "server/resource_health.h"
#include "server/resource_streams.h"

#define EXPERIMENT "/api/v1/experiments/{experiment}"
#define NAMESPACE "/api/v1/namespaces/{namespace}"

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
    {"POST", NAMESPACE "/experiments", PERMISSION_WRITE, post_experiment, LIMIT_JSON_BYTES},
    {"GET", NAMESPACE "/experiments", PERMISSION_READ, list_experiments, 1},
    {"GET", NAMESPACE "/projects", PERMISSION_READ, list_projects, 1},
    {"GET", NAMESPACE "/projects/{project}/files", PERMISSION_READ, list_project_files, 1},
    {"GET", EXPERIMENT, PERMISSION_READ, get_experiment, 1},
    {"GET", EXPERIMENT "/parameters", PERMISSION_READ, get_parameters, 1},
    {"GET", EXPERIMENT "/series", PERMISSION_READ, get_series, 1},
    {"POST", EXPERIMENT "/streams/heads", PERMISSION_READ, post_heads, LIMIT_JSON_BYTES},
    {"POST", EXPERIMENT "/streams", PERMISSION_WRITE, post_streams, LIMIT_BATCH_BYTES},
    {"GET", EXPERIMENT "/streams", PERMISSION_READ, list_streams, 1},
    {"GET", EXPERIMENT "/streams/{stream}", PERMISSION_READ, get_stream, 0},
    {"GET", EXPERIMENT "/files", PERMISSION_READ, list_experiment_files, 1},
    {"POST", EXPERIMENT "/files/status", PERMISSION_WRITE, post_status, LIMIT_JSON_BYTES},
    {"POST", EXPERIMENT "/files/small", PERMISSION_WRITE, post_small, LIMIT_BATCH_BYTES},
    {"GET", EXPERIMENT "/files/{file}", PERMISSION_READ, get_file, 1},
    {"GET", EXPERIMENT "/files/{file}/content", PERMISSION_READ, get_content, 0},
    {"POST", EXPERIMENT "/uploads", PERMISSION_WRITE, post_upload, LIMIT_JSON_BYTES},
    {"GET", EXPERIMENT "/uploads/{file}", PERMISSION_WRITE, get_upload, 1},
    {"PUT", EXPERIMENT "/uploads/{file}/parts/{n}", PERMISSION_WRITE, put_part, 0},
    {"POST", EXPERIMENT "/uploads/{file}/commit", PERMISSION_WRITE, post_commit, 1024},
    {"DELETE", EXPERIMENT "/uploads/{file}", PERMISSION_WRITE, delete_upload, 1024},
    {0},
};
