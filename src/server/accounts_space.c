/* accounts_space.c: namespaces and who is in them. */
#include <stdio.h>
#include <string.h>

#include "base/clock.h"
#include "server/account_doc.h"

static const char *const role_names[] = {"none", "reader", "writer", "owner"};

const char *role_name(enum role role)
{
    return role_names[role];
}

enum role role_of_name(const char *name)
{
    for (int i = ROLE_READER; name != NULL && i <= ROLE_OWNER; i++) {
        if (strcmp(name, role_names[i]) == 0)
            return (enum role)i;
    }
    return ROLE_NONE;
}

static void member_key(char out[2 * ID_RANDOM_LEN + 2], const char *namespace_id,
                       const char *user_id)
{
    snprintf(out, 2 * ID_RANDOM_LEN + 2, "%s/%s", namespace_id, user_id);
}

static enum mld_error take_space(struct arena *arena, const char *id, json_t *object,
                                 struct space *out)
{
    const char *kind = json_string_value(json_object_get(object, "kind"));
    *out = (struct space){.id = arena_strdup(arena, id),
                          .name = account_text(arena, object, "name"),
                          .team = kind != NULL && strcmp(kind, "team") == 0,
                          .created_us = account_int(object, "created")};
    return out->id == NULL || out->name == NULL ? account_no_memory() : MLD_OK;
}

enum mld_error accounts_add_team(struct meta *m, struct arena *arena, const char *name,
                                 const char *owner_id, struct space *out)
{
    char fresh[ID_RANDOM_LEN + 1];
    const char *id;
    static const char *const tokens[] = {"namespace"};
    int64_t now = clock_now_us();
    enum mld_error error = accounts_check_name("the name", name);
    if (error == MLD_OK)
        error = id_random(fresh);
    if (error == MLD_OK)
        error = account_reserve(m, arena, "ns", name, fresh, "namespaces", &id);
    if (error == MLD_OK) /* before the namespace: one without an owner would be nobody's */
        error = accounts_set_role(m, id, owner_id, ROLE_OWNER);
    if (error != MLD_OK)
        return error;
    json_t *space = json_pack("{s:s,s:s,s:s,s:I}", "name", name, "kind", "team", "owner", owner_id,
                              "created", (json_int_t)now);
    error = account_insert(m, "namespaces", id, space, now, tokens, 1);
    if (error == MLD_OK)
        error = take_space(arena, id, space, out);
    json_decref(space);
    return error;
}

enum mld_error accounts_space_by_id(struct meta *m, struct arena *arena, const char *id,
                                    struct space *out)
{
    json_t *object;
    enum mld_error error = account_get(m, "namespaces", id, &object, NULL);
    if (error == MLD_OK)
        error = take_space(arena, id, object, out);
    json_decref(object);
    return error;
}

enum mld_error accounts_space_by_name(struct meta *m, struct arena *arena, const char *name,
                                      struct space *out)
{
    char key[ACCOUNTS_NAME_MAX + 8];
    json_t *there = NULL;
    enum mld_error error = MLD_ENOTFOUND;
    if (strlen(name) <= ACCOUNTS_NAME_MAX) {
        snprintf(key, sizeof key, "ns:%s", name);
        error = account_get(m, "names", key, &there, NULL);
    }
    if (error == MLD_OK)
        error =
            accounts_space_by_id(m, arena, json_string_value(json_object_get(there, "id")), out);
    json_decref(there);
    if (error == MLD_ENOTFOUND)
        error_set(error, "there is no namespace '%.80s'", name);
    return error;
}

static enum mld_error take_member(struct arena *arena, const struct meta_doc *doc,
                                  struct member *out)
{
    json_t *object;
    const char *slash = strchr(doc->id, '/');
    enum mld_error error = account_parse(doc, &object);
    if (error != MLD_OK)
        return error;
    out->role = role_of_name(json_string_value(json_object_get(object, "role")));
    json_decref(object);
    if (slash == NULL)
        return error_set(MLD_EDAMAGED, "a membership is called '%.100s'", doc->id);
    out->namespace_id = arena_strndup(arena, doc->id, (size_t)(slash - doc->id));
    out->user_id = arena_strdup(arena, slash + 1);
    return out->namespace_id == NULL || out->user_id == NULL ? account_no_memory() : MLD_OK;
}

enum mld_error accounts_members(struct meta *m, struct arena *arena, const char *namespace_id,
                                const char *user_id, struct members *out)
{
    struct meta_docs docs = {0};
    char token[ID_RANDOM_LEN + 8];
    *out = (struct members){NULL, 0};
    if (namespace_id != NULL)
        snprintf(token, sizeof token, "ns:%s", namespace_id);
    else
        snprintf(token, sizeof token, "user:%s", user_id);
    enum mld_error error = account_find(m, "members", token, &docs);
    if (error == MLD_OK &&
        (out->items = arena_alloc(arena, (docs.n + 1) * sizeof *out->items)) == NULL)
        error = account_no_memory();
    for (size_t i = 0; error == MLD_OK && i < docs.n; i++)
        error = take_member(arena, &docs.docs[i], &out->items[out->n++]);
    meta_docs_free(&docs);
    return error;
}

enum mld_error accounts_role(struct meta *m, const char *namespace_id, const char *user_id,
                             enum role *out)
{
    char key[2 * ID_RANDOM_LEN + 2];
    json_t *object;
    *out = ROLE_NONE;
    member_key(key, namespace_id, user_id);
    enum mld_error error = account_get(m, "members", key, &object, NULL);
    if (error == MLD_OK)
        *out = role_of_name(json_string_value(json_object_get(object, "role")));
    json_decref(object);
    return error == MLD_ENOTFOUND ? MLD_OK : error;
}

/* MLD_ESTATE when the user is the only owner. */
static enum mld_error check_other_owner(struct meta *m, const char *namespace_id,
                                        const char *user_id)
{
    struct arena arena = {0};
    struct members members;
    bool other = false, self = false;
    enum mld_error error = accounts_members(m, &arena, namespace_id, NULL, &members);
    for (size_t i = 0; error == MLD_OK && i < members.n; i++) {
        bool owner = members.items[i].role == ROLE_OWNER;
        bool same = strcmp(members.items[i].user_id, user_id) == 0;
        other = other || (owner && !same);
        self = self || (owner && same);
    }
    arena_free(&arena);
    if (error == MLD_OK && self && !other)
        error = error_set(MLD_ESTATE, "the last owner cannot go; make another one first");
    return error;
}

static enum mld_error write_role(struct meta *m, const char *key, const char *const *tokens,
                                 enum role role)
{
    struct meta_docs docs = {0};
    json_t *there;
    json_t *object = json_pack("{s:s}", "role", role_name(role));
    enum mld_error error = account_get(m, "members", key, &there, &docs);
    if (error == MLD_OK)
        error = account_replace(m, &docs, object);
    else if (error == MLD_ENOTFOUND)
        error = account_insert(m, "members", key, object, clock_now_us(), tokens, 2);
    json_decref(there);
    json_decref(object);
    meta_docs_free(&docs);
    return error;
}

enum mld_error accounts_set_role(struct meta *m, const char *namespace_id, const char *user_id,
                                 enum role role)
{
    char key[2 * ID_RANDOM_LEN + 2], space[ID_RANDOM_LEN + 8], user[ID_RANDOM_LEN + 8];
    const char *const tokens[] = {space, user};
    enum mld_error error = MLD_OK;
    member_key(key, namespace_id, user_id);
    snprintf(space, sizeof space, "ns:%s", namespace_id);
    snprintf(user, sizeof user, "user:%s", user_id);
    if (role != ROLE_OWNER)
        error = check_other_owner(m, namespace_id, user_id);
    if (error == MLD_OK && role == ROLE_NONE)
        return meta_delete(m, "members", key, 0);
    if (error == MLD_OK)
        do
            error = write_role(m, key, tokens, role);
        while (error == MLD_ECONFLICT || error == MLD_EEXISTS);
    return error;
}
