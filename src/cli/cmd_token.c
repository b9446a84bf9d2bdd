/* cmd_token.c: tokens for the server's users. */
#include "base/json.h"
#include "cli/admin.h"
#include "cli/text.h"

struct token_command {
    struct admin admin; /* first: the actions get it */
    const char *name, *expires;
};

static void put_token(struct admin *a, const struct token *token, const char *secret)
{
    buf_putc(&a->out, '{');
    json_put_key(&a->out, "id");
    json_put_cstring(&a->out, token->id);
    json_put_key(&a->out, "name");
    json_put_cstring(&a->out, token->name);
    json_put_key(&a->out, "createdUs");
    json_put_int64(&a->out, token->created_us);
    json_put_key(&a->out, "expiresUs");
    json_put_int64(&a->out, token->expires_us);
    json_put_key(&a->out, "lastUsedUs");
    json_put_int64(&a->out, token->last_used_us);
    if (secret != NULL) {
        json_put_key(&a->out, "token");
        json_put_cstring(&a->out, secret);
    }
    buf_putc(&a->out, '}');
}

/* The secret goes to stdout alone, so that $(ml-dash token create ada) is the token. */
static enum mld_error create(struct admin *a)
{
    struct token_command *c = (struct token_command *)a;
    struct user user;
    struct token token;
    char secret[ACCOUNTS_TOKEN_LEN + 1];
    int64_t lifetime_s = 0;
    enum mld_error error = accounts_user_by_name(a->meta, &a->arena, admin_operand(a, 0), &user);
    if (error == MLD_OK && c->expires != NULL)
        error = admin_duration(c->expires, &lifetime_s);
    if (error == MLD_OK)
        error = accounts_add_token(a->meta, &a->arena, user.id, c->name == NULL ? "" : c->name,
                                   lifetime_s, secret, &token);
    if (error != MLD_OK)
        return error;
    if (a->json)
        put_token(a, &token, secret);
    else
        buf_puts(&a->out, secret);
    buf_putc(&a->out, '\n');
    if (!a->json)
        cli_message("token %s of %s: keep it, it is not shown again", token.id, user.username);
    return MLD_OK;
}

static void put_row(struct text_table *table, const struct token *token)
{
    struct buf cell;
    buf_init(&cell, CLI_MAX_MESSAGE_BYTES);
    text_put(&cell, token->id);
    text_table_add(table, &cell, TEXT_BOLD);
    text_put(&cell, token->name);
    text_table_add(table, &cell, TEXT_PLAIN);
    admin_put_time(&cell, token->created_us);
    text_table_add(table, &cell, TEXT_DIM);
    admin_put_time(&cell, token->last_used_us);
    text_table_add(table, &cell, TEXT_DIM);
    admin_put_time(&cell, token->expires_us);
    text_table_add(table, &cell, TEXT_DIM);
    buf_free(&cell);
}

static enum mld_error list(struct admin *a)
{
    static const char *const headers[] = {"token", "name", "made", "last used", "expires"};
    struct user user;
    struct tokens tokens;
    struct text_table table;
    enum mld_error error = accounts_user_by_name(a->meta, &a->arena, admin_operand(a, 0), &user);
    if (error == MLD_OK)
        error = accounts_tokens(a->meta, &a->arena, user.id, &tokens);
    if (error != MLD_OK)
        return error;
    text_table_init(&table, headers, 5);
    buf_puts(&a->out, a->json ? "{\"tokens\":[" : "");
    for (size_t i = 0; i < tokens.n; i++) {
        if (a->json && i > 0)
            buf_putc(&a->out, ',');
        if (a->json)
            put_token(a, &tokens.items[i], NULL);
        else
            put_row(&table, &tokens.items[i]);
    }
    if (a->json)
        buf_puts(&a->out, "]}\n");
    else
        text_table_put(&a->out, &table, "", cli_colour());
    text_table_free(&table);
    return MLD_OK;
}

static enum mld_error revoke(struct admin *a)
{
    enum mld_error error = accounts_revoke_token(a->meta, NULL, admin_operand(a, 0));
    if (error == MLD_OK)
        buf_puts(&a->out, a->json ? "{}\n" : "revoked; running servers know within 15 s\n");
    return error;
}

enum cli_exit cmd_token(int argc, char **argv)
{
    static const struct admin_action actions[] = {
        {"create", 1, 1, create},
        {"list", 1, 1, list},
        {"revoke", 1, 1, revoke},
        {NULL, 0, 0, NULL},
    };
    struct token_command c = {.name = NULL};
    const struct cli_option options[] = {
        ADMIN_OPTIONS(&c.admin),
        {"name", 0, CLI_TEXT, "TEXT", "create: what the token is for", &c.name},
        {"expires", 0, CLI_TEXT, "TIME", "create: when it ends, as 30d or 12h (default: never)",
         &c.expires},
        {0},
    };
    const struct cli_usage usage = {
        "token create USER | list USER | revoke TOKEN-ID [OPTIONS]",
        "Makes, lists and revokes tokens, in the server's data directory. A new token is printed\n"
        "once; only its SHA-256 is kept. The server may run meanwhile.\n",
        options,
        2,
        2,
    };
    return admin_main(&c.admin, actions, &usage, argc, argv);
}
