/* resource_files.h: handlers of files: lists, descriptions, bytes; and of uploads. */
#ifndef SERVER_RESOURCE_FILES_H
#define SERVER_RESOURCE_FILES_H

#include "server/http.h"

/* Below /api/v1/experiments/{experiment} unless said otherwise. */
handler list_experiment_files; /* GET /files */
handler list_project_files;    /* GET /api/v1/namespaces/{namespace}/projects/{project}/files */
handler get_file;              /* GET /files/{file} */
handler get_content;           /* GET /files/{file}/content */
handler post_status;           /* POST /files/status */
handler post_small;            /* POST /files/small */
handler post_upload;           /* POST /uploads */
handler get_upload;            /* GET /uploads/{file} */
handler put_part;              /* PUT /uploads/{file}/parts/{n} */
handler post_commit;           /* POST /uploads/{file}/commit */
handler delete_upload;         /* DELETE /uploads/{file} */

#endif
