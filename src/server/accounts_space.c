/* accounts_space.c: namespaces and who is in them. */
#include <stdio.h>
#include <string.h>

#include "base/clock.h"
#include "server/account_doc.h"

#define MAX_TRIES 64

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

/* MLD_ETOOLARGE when the namespace ("ns") or user ("user") has as many memberships as a list can
 * say. */
static enum mld_error check_room(struct meta *m, const char *kind, const char *id)
{
    char token[ID_RANDOM_LEN + 8];
    uint64_t n;
    snprintf(token, sizeof token, "%s:%s", kind, id);
    const struct meta_range range = {
        .partition = "members", .token = token, .min_order = INT64_MIN, .max_order = INT64_MAX};
    enum mld_error error = meta_count(m, &n, &range, ACCOUNTS_MAX_LIST);
    if (error == MLD_OK && n >= ACCOUNTS_MAX_LIST)
        error = error_set(MLD_ETOOLARGE,
                          "a namespace has at most %d members, and a user is in at "
                          "most as many namespaces",
                          ACCOUNTS_MAX_LIST);
    return error;
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

/* The namespace's document, which commits it and says whose it is; its owner's membership comes
 * after, so that of two callers at once only one becomes a member. */
static enum mld_error insert_team(struct meta *m, struct arena *arena, const char *id,
                                  const char *name, const char *owner_id, struct space *out)
{
    static const char *const tokens[] = {"namespace"};
    int64_t now = clock_now_us();
    json_t *space = json_pack("{s:s,s:s,s:s,s:I}", "name", name, "kind", "team", "owner", owner_id,
                              "created", (json_int_t)now);
    enum mld_error error = space == NULL
                               ? account_no_memory()
                               : account_insert(m, "namespaces", id, space, now, tokens, 1);
    if (error == MLD_EEXISTS)
        error = error_set(error, "the name '%s' is taken", name);
    if (error == MLD_OK)
        error = take_space(arena, id, space, out);
    json_decref(space);
    return error;
}

/* Whether the team is this user's making: left without members by a crash, or made by the same
 * request before, and the user still owns it. */
static bool is_own(struct meta *m, struct arena *arena, const char *id, const char *owner_id,
                   struct space *out)
{
    json_t *object = NULL;
    struct members members;
    enum role role = ROLE_NONE;
    bool own = account_get(m, "namespaces", id, &object, NULL) == MLD_OK &&
               take_space(arena, id, object, out) == MLD_OK && out->team;
    const char *owner = json_string_value(json_object_get(object, "owner"));
    own = own && owner != NULL && strcmp(owner, owner_id) == 0 &&
          accounts_members(m, arena, id, NULL, &members) == MLD_OK &&
          accounts_role(m, id, owner_id, &role) == MLD_OK && (members.n == 0 || role == ROLE_OWNER);
    json_decref(object);
    return own;
}

enum mld_error accounts_add_team(struct meta *m, struct arena *arena, const char *name,
                                 const char *owner_id, struct space *out)
{
    char fresh[ID_RANDOM_LEN + 1];
    const char *id = NULL;
    struct account_name wanted = {"ns", name, fresh, "namespaces", false};
    enum mld_error error = accounts_check_name("the name", name);
    if (error == MLD_OK)
        error = check_room(m, "user", owner_id);
    if (error == MLD_OK)
        error = id_random(fresh);
    if (error == MLD_OK)
        error = account_reserve(m, arena, &wanted, &id);
    if (error == MLD_OK)
        error = insert_team(m, arena, id, name, owner_id, out);
    if (error == MLD_EEXISTS && id != NULL && is_own(m, arena, id, owner_id, out))
        error = MLD_OK;
    return error == MLD_OK ? accounts_set_role(m, id, owner_id, ROLE_OWNER) : error;
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
    const char *id;
    enum mld_error error = account_name_get(m, arena, "ns", name, &id);
    if (error == MLD_OK)
        error = accounts_space_by_id(m, arena, id, out);
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

struct membership {
    const char *namespace_id;
    const char *user_id;
    char key[2 * ID_RANDOM_LEN + 2];
};

static enum mld_error insert_role(struct meta *m, const struct membership *who, json_t *object)
{
    char space[ID_RANDOM_LEN + 8], user[ID_RANDOM_LEN + 8];
    const char *const tokens[] = {space, user};
    enum mld_error error = check_room(m, "ns", who->namespace_id);
    if (error == MLD_OK)
        error = check_room(m, "user", who->user_id);
    snprintf(space, sizeof space, "ns:%s", who->namespace_id);
    snprintf(user, sizeof user, "user:%s", who->user_id);
    return error == MLD_OK
               ? account_insert(m, "members", who->key, object, clock_now_us(), tokens, 2)
               : error;
}

/* Owners leave, or are made less, one after the other, or two who remove each other would leave
 * none: the namespace's document says who is `leaving` and what becomes of them, which commits it;
 * the membership follows, and whoever finds it undone does it. */
static const char *leaving_user(json_t *space)
{
    return json_string_value(json_object_get(json_object_get(space, "leaving"), "user"));
}

static bool is_owner(json_t *member)
{
    return role_of_name(json_string_value(json_object_get(member, "role"))) == ROLE_OWNER;
}

/* Writes the role over the membership that was read, at its revision. */
static enum mld_error write_member(struct meta *m, const char *key, const struct meta_docs *docs,
                                   enum role role)
{
    if (role == ROLE_NONE)
        return meta_delete(m, "members", key, docs->docs[0].revision);
    json_t *object = json_pack("{s:s}", "role", role_name(role));
    enum mld_error error = object == NULL ? account_no_memory() : account_replace(m, docs, object);
    json_decref(object);
    return error;
}

/* The membership of who is leaving, as the namespace's document at `revision` has it: read before
 * that document is looked at again, so that nobody who came back meanwhile is put out. */
static enum mld_error put_out(struct meta *m, const char *namespace_id, json_t *space,
                              int64_t revision)
{
    char key[2 * ID_RANDOM_LEN + 2];
    json_t *member = NULL;
    json_t *again = NULL;
    struct meta_docs docs = {0};
    struct meta_docs space_docs = {0};
    const char *role =
        json_string_value(json_object_get(json_object_get(space, "leaving"), "role"));
    member_key(key, namespace_id, leaving_user(space));
    enum mld_error error = account_get(m, "members", key, &member, &docs);
    if (error == MLD_OK && is_owner(member)) {
        error = account_get(m, "namespaces", namespace_id, &again, &space_docs);
        if (error == MLD_OK && space_docs.docs[0].revision != revision)
            error = MLD_ECONFLICT;
        if (error == MLD_OK)
            error = write_member(m, key, &docs, role_of_name(role));
    }
    json_decref(member);
    json_decref(again);
    meta_docs_free(&docs);
    meta_docs_free(&space_docs);
    return error == MLD_ENOTFOUND ? MLD_OK : error;
}

/* Finishes what was begun, if anything was. MLD_ECONFLICT: look again. */
static enum mld_error finish_leaving(struct meta *m, const char *namespace_id)
{
    json_t *space;
    struct meta_docs docs = {0};
    enum mld_error error = account_get(m, "namespaces", namespace_id, &space, &docs);
    if (error == MLD_OK && leaving_user(space) != NULL) {
        error = put_out(m, namespace_id, space, docs.docs[0].revision);
        if (error == MLD_OK) {
            json_object_del(space, "leaving");
            error = account_replace(m, &docs, space);
        }
    }
    json_decref(space);
    meta_docs_free(&docs);
    return error;
}

/* An owner becomes less. MLD_ECONFLICT: look again. */
static enum mld_error leave(struct meta *m, const struct membership *who, enum role role)
{
    json_t *space;
    struct meta_docs docs = {0};
    enum mld_error error = finish_leaving(m, who->namespace_id);
    if (error != MLD_OK)
        return error;
    error = account_get(m, "namespaces", who->namespace_id, &space, &docs);
    if (error == MLD_OK && leaving_user(space) != NULL)
        error = MLD_ECONFLICT;
    if (error == MLD_OK)
        error = check_other_owner(m, who->namespace_id, who->user_id);
    if (error == MLD_OK && json_object_set_new(space, "leaving",
                                               json_pack("{s:s,s:s}", "user", who->user_id, "role",
                                                         role_name(role))) != 0)
        error = account_no_memory();
    if (error == MLD_OK)
        error = account_replace(m, &docs, space);
    json_decref(space);
    meta_docs_free(&docs);
    return error == MLD_OK ? finish_leaving(m, who->namespace_id) : error;
}

static enum mld_error insert_role_named(struct meta *m, const struct membership *who,
                                        enum role role)
{
    json_t *object = json_pack("{s:s}", "role", role_name(role));
    enum mld_error error = object == NULL ? account_no_memory() : insert_role(m, who, object);
    json_decref(object);
    return error;
}

/* MLD_ECONFLICT, MLD_EEXISTS, MLD_ENOTFOUND: look again. */
static enum mld_error set_role_once(struct meta *m, const struct membership *who, enum role role)
{
    struct meta_docs docs = {0};
    json_t *member = NULL;
    enum mld_error error = account_get(m, "members", who->key, &member, &docs);
    if (error == MLD_OK && role != ROLE_OWNER && is_owner(member))
        error = leave(m, who, role);
    else if (error == MLD_OK)
        error = write_member(m, who->key, &docs, role);
    else if (error == MLD_ENOTFOUND)
        error = role == ROLE_NONE ? MLD_OK : insert_role_named(m, who, role);
    json_decref(member);
    meta_docs_free(&docs);
    return error;
}

enum mld_error accounts_set_role(struct meta *m, const char *namespace_id, const char *user_id,
                                 enum role role)
{
    struct membership who = {namespace_id, user_id, ""};
    enum mld_error error = MLD_ECONFLICT;
    bool again = true;
    member_key(who.key, namespace_id, user_id);
    if (role != ROLE_OWNER && strcmp(namespace_id, user_id) == 0)
        return error_set(MLD_ESTATE, "a personal namespace stays its user's own");
    for (int i = 0; i < MAX_TRIES && again; i++) {
        /* Who comes back must not be put out by what was begun before. */
        error = role == ROLE_OWNER ? finish_leaving(m, namespace_id) : MLD_OK;
        if (error == MLD_OK || error == MLD_ENOTFOUND)
            error = set_role_once(m, &who, role);
        again = error == MLD_ECONFLICT || error == MLD_EEXISTS || error == MLD_ENOTFOUND;
    }
    return again ? error_set(MLD_ECONFLICT, "the members change all the time; try again") : error;
}
