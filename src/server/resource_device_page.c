/* resource_device_page.c: the browser's part of a device's login.
 *
 * GET /device shows a form to sign in, or, to who is signed in, one to type the code or to decide.
 * POST /device signs in and comes back to GET /device; POST /device/decide decides. A form is taken
 * only with its session's token, so no other page can send it; the HTTP layer has refused other
 * Origins before. */
#include <string.h>
#include <strings.h>

#include "base/clock.h"
#include "server/access.h"
#include "server/device_login.h"
#include "server/device_page.h"
#include "server/device_session.h"
#include "server/http_route.h"
#include "server/password.h"
#include "server/resource_device.h"
#include "server/server.h"
#include "server/throttle.h"

#define US_PER_S INT64_C(1000000)

static int64_t now_s(void)
{
    return clock_now_us() / US_PER_S;
}

/* What a page may do: show itself with its style, and send its form back here. */
static void put_headers(struct request *r)
{
    response_header(r, "Content-Security-Policy",
                    "default-src 'none'; style-src 'self'; form-action 'self'; base-uri 'none'; "
                    "frame-ancestors 'none'");
    response_header(r, "Referrer-Policy", "same-origin"); /* else a form's Origin is "null" */
}

static void respond_page(struct request *r, unsigned status, struct buf *page)
{
    put_headers(r);
    respond_bytes(r, status, "text/html; charset=utf-8", page);
}

static void respond_message(struct request *r, unsigned status, const char *title, const char *text)
{
    struct buf page;
    buf_init(&page, DEVICE_PAGE_MAX_BYTES);
    page_put_message(&page, title, text);
    respond_page(r, status, &page);
}

/* People get a page also when something failed; the log gets what it was. */
static void respond_failure(struct request *r, enum mld_error error)
{
    if (error == MLD_EBUSY) {
        response_header(r, "Retry-After", "60");
        respond_message(r, 429, "Too many tries", mld_error_message());
        return;
    }
    http_note(request_http(r), "error", mld_error_message());
    respond_message(r, 503, "That did not work", "The server could not do it now. Try again.");
}

static void set_cookie(struct request *r, const struct device_session *session)
{
    struct buf cookie;
    const char *url = request_server(r)->public_url;
    buf_init(&cookie, 1024);
    buf_printf(&cookie, DEVICE_COOKIE "=%s; Path=/device; Max-Age=%d; HttpOnly; SameSite=Strict%s",
               session->text, DEVICE_SESSION_S,
               url != NULL && strncasecmp(url, "https://", 8) == 0 ? "; Secure" : "");
    response_header(r, "Set-Cookie", buf_text(&cookie));
    buf_free(&cookie);
}

static bool read_session(struct request *r, struct device_session *out)
{
    return device_session_read(out, request_server(r)->secret, request_header(r, "Cookie"),
                               now_s());
}

/* A form to sign in, of a session of its own. */
static void respond_sign_in(struct request *r, unsigned status, const char *code,
                            const char *problem)
{
    struct device_session session;
    struct buf page;
    enum mld_error error = device_session_new(&session, request_server(r)->secret, NULL, now_s());
    if (error != MLD_OK) {
        respond_failure(r, error);
        return;
    }
    const struct device_page shown = {
        .form_token = session.form_token, .code = code, .problem = problem};
    set_cookie(r, &session);
    buf_init(&page, DEVICE_PAGE_MAX_BYTES);
    page_put_sign_in(&page, &shown);
    respond_page(r, status, &page);
}

/* Codes are guessed as passwords are: so many a minute. */
static enum mld_error check_guesses(struct request *r, const char *account)
{
    struct accounts *a = request_server(r)->accounts;
    char address[THROTTLE_KEY_MAX];
    int64_t now = clock_monotonic_ms();
    throttle_address(address, request_client(r));
    if (throttle_is_over(access_throttle(a, ACCESS_ADDRESS_SIGN_INS), address, now) ||
        throttle_is_over(access_throttle(a, ACCESS_ACCOUNT_SIGN_INS), account, now))
        return error_set(MLD_EBUSY, "There were too many wrong tries. Wait a minute.");
    return MLD_OK;
}

static void count_guess(struct request *r, const char *account)
{
    struct accounts *a = request_server(r)->accounts;
    char address[THROTTLE_KEY_MAX];
    int64_t now = clock_monotonic_ms();
    throttle_address(address, request_client(r));
    throttle_count(access_throttle(a, ACCESS_ADDRESS_SIGN_INS), address, now);
    throttle_count(access_throttle(a, ACCESS_ACCOUNT_SIGN_INS), account, now);
}

/* The signed-in user, who must still be one. MLD_EAUTH: nobody is. */
static enum mld_error signed_in(struct request *r, struct device_session *session, struct user *out)
{
    if (!read_session(r, session) || session->user_id[0] == '\0')
        return error_set(MLD_EAUTH, "nobody is signed in");
    enum mld_error error =
        accounts_user_by_id(request_server(r)->meta, request_arena(r), session->user_id, out);
    if (error == MLD_ENOTFOUND || (error == MLD_OK && out->disabled))
        error = error_set(MLD_EAUTH, "the user is gone");
    return error;
}

/* Asks for a code, or shows whose login it is and asks for the decision. */
static void respond_decision(struct request *r, const struct device_session *session,
                             const struct user *user, const char *code)
{
    struct device_login login = {0};
    struct buf page;
    char shown_code[DEVICE_USER_CODE_LEN + 1];
    bool asked = code != NULL && code[0] != '\0';
    enum mld_error error = asked ? check_guesses(r, user->username) : MLD_OK;
    if (error == MLD_OK && asked)
        error = device_find(request_server(r)->meta, request_arena(r), code, &login);
    bool found = asked && error == MLD_OK;
    if (error == MLD_ENOTFOUND)
        count_guess(r, user->username);
    else if (error != MLD_OK) {
        respond_failure(r, error);
        return;
    }
    const struct device_page shown = {
        .form_token = session->form_token,
        .code = found && device_user_code(shown_code, code) ? shown_code : code,
        .problem = asked && !found ? "There is no login with this code, or it is over." : NULL,
        .username = user->username,
        .client = login.client,
        .address = login.address,
        .age_s = (clock_now_us() - login.created_us) / US_PER_S};
    buf_init(&page, DEVICE_PAGE_MAX_BYTES);
    if (found)
        page_put_approve(&page, &shown);
    else
        page_put_code(&page, &shown);
    respond_page(r, asked && !found ? 404 : 200, &page);
}

void get_device_page(struct request *r)
{
    struct device_session session;
    struct user user;
    const char *code = request_query(r, "code");
    enum mld_error error = signed_in(r, &session, &user);
    if (error == MLD_EAUTH)
        respond_sign_in(r, 200, code, NULL);
    else if (error != MLD_OK)
        respond_failure(r, error);
    else
        respond_decision(r, &session, &user, code);
}

struct form {
    struct pair *fields;
    size_t n;
};

static const char *field(const struct form *form, const char *name)
{
    for (size_t i = 0; i < form->n; i++) {
        if (form->fields[i].name_len == strlen(name) &&
            strncmp(form->fields[i].name, name, form->fields[i].name_len) == 0)
            return form->fields[i].value;
    }
    return NULL;
}

/* The form that was sent, which must be one of this session's pages. False: it was answered. */
static bool take_form(struct request *r, const struct device_session *session, bool has_session,
                      struct form *out)
{
    size_t len;
    const char *body = request_body(r, &len), *type = request_header(r, "Content-Type");
    const char *text = arena_strndup(request_arena(r), body, len);
    if (type == NULL || strncasecmp(type, "application/x-www-form-urlencoded", 33) != 0 ||
        text == NULL || strlen(text) != len ||
        route_query(&out->fields, &out->n, request_arena(r), text) != MLD_OK) {
        respond_message(r, 400, "That was no form", "Go back and try again.");
        return false;
    }
    if (!has_session || !device_session_owns(session, field(out, "form"))) {
        respond_message(r, 403, "This page is too old",
                        "Nothing was done. Open the login page again; it needs cookies.");
        return false;
    }
    return true;
}

/* By name and password. The time says nothing about whether there is such a user. */
static enum mld_error check_password(struct request *r, const char *username, const char *password,
                                     const char **out_user_id)
{
    struct user user;
    enum mld_error error = check_guesses(r, username);
    if (error == MLD_OK && password_is_busy())
        error = error_set(MLD_EBUSY, "Too many people are signing in. Try again in a moment.");
    if (error != MLD_OK)
        return error;
    error = accounts_user_by_name(request_server(r)->meta, request_arena(r), username, &user);
    if (error != MLD_OK && error != MLD_ENOTFOUND)
        return error;
    bool known = error == MLD_OK && !user.disabled;
    if (!password_matches(known ? user.password : NULL, password) || !known) {
        count_guess(r, username);
        return error_set(MLD_EAUTH, "The name or the password is wrong.");
    }
    throttle_forget(access_throttle(request_server(r)->accounts, ACCESS_ACCOUNT_SIGN_INS),
                    username);
    *out_user_id = user.id;
    return MLD_OK;
}

static enum mld_error check_token(struct request *r, const char *token, const char **out_user_id)
{
    struct caller caller;
    struct buf header;
    buf_init(&header, DEVICE_MAX_FORM_BYTES + 16);
    buf_printf(&header, "Bearer %s", token);
    const struct access_question question = {.permission = PERMISSION_USER,
                                             .authorization = buf_text(&header),
                                             .client = request_client(r)};
    enum mld_error error = access_decide(&caller, request_arena(r), request_server(r), &question);
    if (header.len > 0)
        explicit_bzero(header.data, header.len);
    buf_free(&header);
    *out_user_id = caller.user_id;
    return error == MLD_EAUTH ? error_set(MLD_EAUTH, "The token is not valid.") : error;
}

/* Back to the page, now as this user. */
static void welcome(struct request *r, const char *user_id, const char *code)
{
    struct device_session session;
    struct buf location;
    char shown_code[DEVICE_USER_CODE_LEN + 1];
    enum mld_error error =
        device_session_new(&session, request_server(r)->secret, user_id, now_s());
    if (error != MLD_OK) {
        respond_failure(r, error);
        return;
    }
    buf_init(&location, 256);
    buf_puts(&location, "/device");
    if (code != NULL && device_user_code(shown_code, code))
        buf_printf(&location, "?code=%s", shown_code);
    set_cookie(r, &session);
    response_header(r, "Location", buf_text(&location));
    buf_free(&location);
    respond_message(r, 303, "Signed in", "Go on.");
}

void post_device_sign_in(struct request *r)
{
    struct device_session session;
    struct form form;
    const char *user_id = NULL;
    if (!take_form(r, &session, read_session(r, &session), &form))
        return;
    const char *token = field(&form, "token"), *username = field(&form, "username");
    const char *password = field(&form, "password"), *code = field(&form, "code");
    enum mld_error error = token != NULL && token[0] != '\0'
                               ? check_token(r, token, &user_id)
                               : check_password(r, username == NULL ? "" : username,
                                                password == NULL ? "" : password, &user_id);
    if (error == MLD_OK)
        welcome(r, user_id, code);
    else if (error == MLD_EAUTH)
        respond_sign_in(r, 403, code, mld_error_message());
    else
        respond_failure(r, error);
}

void post_device_decide(struct request *r)
{
    struct device_session session;
    struct form form;
    struct user user;
    enum mld_error error = signed_in(r, &session, &user);
    if (error != MLD_OK && error != MLD_EAUTH) {
        respond_failure(r, error);
        return;
    }
    if (!take_form(r, &session, error == MLD_OK, &form))
        return;
    const char *decision = field(&form, "decision"), *code = field(&form, "code");
    bool approve = decision != NULL && strcmp(decision, "approve") == 0;
    error = check_guesses(r, user.username);
    if (error == MLD_OK)
        error = device_decide(request_server(r)->meta, code == NULL ? "" : code,
                              approve ? user.id : NULL);
    if (error == MLD_ENOTFOUND) {
        count_guess(r, user.username);
        respond_message(r, 404, "That login is over", "Begin another one on the device.");
    } else if (error != MLD_OK)
        respond_failure(r, error);
    else if (approve)
        respond_message(r, 200, "Done", "The device is logged in. You may close this page.");
    else
        respond_message(r, 200, "Refused", "The device was not let in. You may close this page.");
}

void get_device_style(struct request *r)
{
    struct buf out;
    buf_init(&out, DEVICE_PAGE_MAX_BYTES);
    page_put_style(&out);
    response_header(r, "Cache-Control", "max-age=3600");
    respond_bytes(r, 200, "text/css; charset=utf-8", &out);
}
