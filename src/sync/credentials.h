/* credentials.h: which server, and who asks: from the call, the environment, or what `ml-dash
 * login` left in the folder of the published clients ($ML_DASH_CONFIG_DIR, else ~/.dash). */
#ifndef SYNC_CREDENTIALS_H
#define SYNC_CREDENTIALS_H

#include "base/error.h"

struct credentials {
    char *url;   /* NULL: not known anywhere. Own memory, as the token */
    char *token; /* NULL: not known anywhere */
};

/* URL: `url`, else ML_DASH_URL, else "remote_url" of config.json. Token: `token`, else
 * ML_DASH_TOKEN, else "ml-dash-token" of tokens.json, unless config.json says that it is another
 * server's. Files that are not there are fine; one that does not read is MLD_EINVALID. The caller
 * frees both. */
enum mld_error credentials_find(struct credentials *out, const char *url, const char *token);
void credentials_free(struct credentials *c);

/* Writes both files, for their owner's eyes only; what else is in them stays. */
enum mld_error credentials_save(const char *url, const char *token);
/* Takes the token out of tokens.json; none is fine. */
enum mld_error credentials_forget(void);

#endif
