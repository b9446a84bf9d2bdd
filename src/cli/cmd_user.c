/* cmd_user.c: the server's users. */
#include "base/clock.h"
#include "base/json.h"
#include "cli/admin.h"
#include "cli/text.h"

struct user_command {
    struct admin admin; /* first: the actions get it */
    bool password_stdin, no_password, make_admin;
};

static void put_user(struct admin *a, const struct user *user, bool first)
{
    if (!a->json) {
        text_put(&a->out, user->username);
        buf_puts(&a->out, user->admin ? "  administrator" : "");
        buf_puts(&a->out, user->disabled ? "  disabled" : "");
        buf_puts(&a->out, user->password == NULL ? "  no password" : "");
        buf_putc(&a->out, '\n');
        return;
    }
    buf_puts(&a->out, first ? "{" : ",{");
    json_put_key(&a->out, "id");
    json_put_cstring(&a->out, user->id);
    json_put_key(&a->out, "username");
    json_put_cstring(&a->out, user->username);
    json_put_key(&a->out, "admin");
    json_put_bool(&a->out, user->admin);
    json_put_key(&a->out, "disabled");
    json_put_bool(&a->out, user->disabled);
    json_put_key(&a->out, "hasPassword");
    json_put_bool(&a->out, user->password != NULL);
    buf_putc(&a->out, '}');
}

static enum mld_error create(struct admin *a)
{
    struct user_command *c = (struct user_command *)a;
    const char *password = NULL;
    struct user user;
    enum mld_error error = MLD_OK;
    if (!c->no_password)
        error = admin_password(a, c->password_stdin, &password);
    if (error == MLD_OK)
        error = accounts_add_user(a->meta, &a->arena, admin_operand(a, 0), password, c->make_admin,
                                  &user);
    if (error != MLD_OK)
        return error;
    put_user(a, &user, true);
    if (a->json)
        buf_putc(&a->out, '\n');
    else
        buf_printf(&a->out, "made, with the namespace '%s'; a token: ml-dash token create %s\n",
                   user.username, user.username);
    return MLD_OK;
}

static enum mld_error list(struct admin *a)
{
    struct users users;
    enum mld_error error = accounts_users(a->meta, &a->arena, &users);
    if (error != MLD_OK)
        return error;
    buf_puts(&a->out, a->json ? "{\"users\":[" : "");
    for (size_t i = 0; i < users.n; i++)
        put_user(a, &users.items[i], i == 0);
    buf_puts(&a->out, a->json ? "]}\n" : "");
    if (users.more)
        cli_message("these are the first %d; there are more", ACCOUNTS_MAX_LIST);
    return MLD_OK;
}

static enum mld_error change(struct admin *a, const struct user_change *what, const char *said)
{
    const char *name = admin_operand(a, 0);
    enum mld_error error = accounts_change_user(a->meta, name, what);
    if (error == MLD_OK && !a->json) {
        text_put(&a->out, name);
        buf_printf(&a->out, ": %s\n", said);
    } else if (error == MLD_OK) {
        buf_puts(&a->out, "{}\n");
    }
    return error;
}

static enum mld_error password(struct admin *a)
{
    struct user_command *c = (struct user_command *)a;
    struct user_change what = {.password = NULL};
    enum mld_error error = admin_password(a, c->password_stdin, &what.password);
    return error == MLD_OK ? change(a, &what, "the password was changed") : error;
}

static enum mld_error set_flag(struct admin *a, bool is_admin, bool value, const char *said)
{
    struct user_change what = {.password = NULL};
    if (is_admin)
        what.admin = &value;
    else
        what.disabled = &value;
    return change(a, &what, said);
}

static enum mld_error disable(struct admin *a)
{
    return set_flag(a, false, true, "disabled; running servers know within 15 s");
}

/* All tokens, and all JWTs that were issued up to now. */
static enum mld_error revoke(struct admin *a)
{
    struct user user;
    int64_t now_s = clock_now_us() / 1000000 + 1;
    const struct user_change what = {.not_before_s = &now_s};
    enum mld_error error = accounts_user_by_name(a->meta, &a->arena, admin_operand(a, 0), &user);
    if (error == MLD_OK)
        error = accounts_revoke_all(a->meta, user.id);
    return error == MLD_OK
               ? change(a, &what, "all tokens were revoked; running servers know within 15 s")
               : error;
}

static enum mld_error enable(struct admin *a)
{
    return set_flag(a, false, false, "enabled");
}

static enum mld_error promote(struct admin *a)
{
    return set_flag(a, true, true, "is an administrator");
}

static enum mld_error demote(struct admin *a)
{
    return set_flag(a, true, false, "is no administrator any more");
}

enum cli_exit cmd_user(int argc, char **argv)
{
    static const struct admin_action actions[] = {
        {"create", 1, 1, create},   {"list", 0, 0, list},     {"password", 1, 1, password},
        {"disable", 1, 1, disable}, {"enable", 1, 1, enable}, {"promote", 1, 1, promote},
        {"demote", 1, 1, demote},   {"revoke", 1, 1, revoke}, {NULL, 0, 0, NULL},
    };
    struct user_command c = {.password_stdin = false};
    const struct cli_option options[] = {
        ADMIN_OPTIONS(&c.admin),
        {"admin", 0, CLI_FLAG, NULL, "create: an administrator of the server", &c.make_admin},
        {"no-password", 0, CLI_FLAG, NULL, "create: sign in with tokens only", &c.no_password},
        {"password-stdin", 0, CLI_FLAG, NULL, "read the password from stdin", &c.password_stdin},
        {0},
    };
    const struct cli_usage usage = {
        "user create|list|password|disable|enable|promote|demote|revoke [NAME] [OPTIONS]",
        "Makes, lists and changes the users of a server, in its data directory. A new user gets a\n"
        "namespace of the same name. `revoke` ends all tokens that the user has. The server may "
        "run\n"
        "meanwhile.\n",
        options,
        1,
        2,
    };
    return admin_main(&c.admin, actions, &usage, argc, argv);
}
