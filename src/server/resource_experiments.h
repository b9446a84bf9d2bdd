/* resource_experiments.h: handlers of experiments and of what their records say. */
#ifndef SERVER_RESOURCE_EXPERIMENTS_H
#define SERVER_RESOURCE_EXPERIMENTS_H

#include "server/http.h"

handler post_experiment;  /* POST /api/v1/namespaces/{namespace}/experiments */
handler list_experiments; /* GET  /api/v1/namespaces/{namespace}/experiments */
handler list_projects;    /* GET  /api/v1/namespaces/{namespace}/projects */
handler get_experiment;   /* GET  /api/v1/experiments/{experiment} */
handler get_parameters;   /* GET  /api/v1/experiments/{experiment}/parameters */
handler get_series;       /* GET  /api/v1/experiments/{experiment}/series */

#endif
