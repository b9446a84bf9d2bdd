/* resource_device.h: handlers of the login of a device (docs/protocol.md, "Logging in"): JSON for
 * the device, pages for the browser. */
#ifndef SERVER_RESOURCE_DEVICE_H
#define SERVER_RESOURCE_DEVICE_H

#include "server/http.h"

#define DEVICE_MAX_FORM_BYTES (32u << 10)

handler post_device_start;   /* POST /api/v1/device/start */
handler post_device_poll;    /* POST /api/v1/device/poll */
handler get_device_page;     /* GET /device */
handler post_device_sign_in; /* POST /device */
handler post_device_decide;  /* POST /device/decide */
handler get_device_style;    /* GET /device/style.css */

#endif
