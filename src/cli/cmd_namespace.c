/* cmd_namespace.c: the server's namespaces and who is in them. */
#include "base/json.h"
#include "cli/admin.h"
#include "cli/text.h"

static enum mld_error create(struct admin *a)
{
    struct user owner;
    struct space space;
    enum mld_error error = accounts_user_by_name(a->meta, &a->arena, admin_operand(a, 1), &owner);
    if (error == MLD_OK)
        error = accounts_add_team(a->meta, &a->arena, admin_operand(a, 0), owner.id, &space);
    if (error == MLD_OK && a->json)
        buf_puts(&a->out, "{}\n");
    else if (error == MLD_OK)
        buf_printf(&a->out, "%s: made, owned by %s\n", space.name, owner.username);
    return error;
}

static enum mld_error put_member(struct admin *a, const struct member *member, bool first)
{
    struct user user;
    enum mld_error error = accounts_user_by_id(a->meta, &a->arena, member->user_id, &user);
    if (error != MLD_OK)
        return error;
    if (!a->json) {
        buf_printf(&a->out, "%-6s  %s\n", role_name(member->role), user.username);
        return MLD_OK;
    }
    buf_puts(&a->out, first ? "{" : ",{");
    json_put_key(&a->out, "username");
    json_put_cstring(&a->out, user.username);
    json_put_key(&a->out, "role");
    json_put_cstring(&a->out, role_name(member->role));
    buf_putc(&a->out, '}');
    return MLD_OK;
}

static enum mld_error members(struct admin *a)
{
    struct space space;
    struct members members = {NULL, 0};
    enum mld_error error = accounts_space_by_name(a->meta, &a->arena, admin_operand(a, 0), &space);
    if (error == MLD_OK)
        error = accounts_members(a->meta, &a->arena, space.id, NULL, &members);
    buf_puts(&a->out, a->json ? "{\"members\":[" : "");
    for (size_t i = 0; error == MLD_OK && i < members.n; i++)
        error = put_member(a, &members.items[i], i == 0);
    buf_puts(&a->out, a->json ? "]}\n" : "");
    return error;
}

static enum mld_error set_role(struct admin *a, enum role role)
{
    struct space space;
    struct user user;
    enum mld_error error = accounts_space_by_name(a->meta, &a->arena, admin_operand(a, 0), &space);
    if (error == MLD_OK)
        error = accounts_user_by_name(a->meta, &a->arena, admin_operand(a, 1), &user);
    if (error == MLD_OK)
        error = accounts_set_role(a->meta, space.id, user.id, role);
    if (error == MLD_OK && a->json)
        buf_puts(&a->out, "{}\n");
    else if (error == MLD_OK)
        buf_printf(&a->out, "%s: %s is %s\n", space.name, user.username,
                   role == ROLE_NONE ? "no member any more" : role_name(role));
    return error;
}

static enum mld_error add(struct admin *a)
{
    const char *word = admin_operand(a, 2);
    enum role role = word == NULL ? ROLE_WRITER : role_of_name(word);
    if (role == ROLE_NONE)
        return error_set(MLD_EINVALID, "'%.40s' is no role: reader, writer or owner", word);
    return set_role(a, role);
}

static enum mld_error remove_member(struct admin *a)
{
    return set_role(a, ROLE_NONE);
}

enum cli_exit cmd_namespace(int argc, char **argv)
{
    static const struct admin_action actions[] = {
        {"create", 2, 2, create},        {"members", 1, 1, members}, {"add", 2, 3, add},
        {"remove", 2, 2, remove_member}, {NULL, 0, 0, NULL},
    };
    struct admin admin = {.json = false};
    const struct cli_option options[] = {
        ADMIN_OPTIONS(&admin),
        {0},
    };
    const struct cli_usage usage = {
        "namespace create NAME OWNER | members NAME | add NAME USER [ROLE] | remove NAME USER",
        "Makes namespaces for teams, in the server's data directory, and says who is in them with\n"
        "which role: reader, writer (the default) or owner. The server may run meanwhile.\n",
        options,
        2,
        4,
    };
    return admin_main(&admin, actions, &usage, argc, argv);
}
