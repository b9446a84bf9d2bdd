/* Heads that are refused, and those that must not be. */
#include "server/http_guard.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "server/http.h"

/* A head with Host and up to three more headers. */
static struct guard_verdict form(const char *method, const char *target, const char *version,
                                 const struct header *more, size_t n)
{
    struct header headers[HTTP_MAX_HEADERS + 8] = {{"Host", "localhost:3000"}};
    for (size_t i = 0; i < n; i++)
        headers[i + 1] = more[i];
    const struct guard_head head = {method, target, version, headers, n + 1};
    return guard_form(&head);
}

static unsigned with(const char *name, const char *value)
{
    const struct header header = {name, value};
    return form("POST", "/a", "HTTP/1.1", &header, 1).status;
}

static unsigned with_two(const char *a, const char *a_value, const char *b, const char *b_value)
{
    const struct header headers[] = {{a, a_value}, {b, b_value}};
    return form("POST", "/a", "HTTP/1.1", headers, 2).status;
}

static unsigned target(const char *text)
{
    return form("GET", text, "HTTP/1.1", NULL, 0).status;
}

static void test_framing(void **state)
{
    (void)state;
    assert_int_equal(with("Content-Length", "12"), 0);
    assert_int_equal(with("Transfer-Encoding", "chunked"), 0);
    assert_int_equal(with("transfer-encoding", "Chunked"), 0);
    assert_int_equal(with("Transfer-Encoding", "gzip, chunked"), 400);
    assert_int_equal(with("Transfer-Encoding", "chunked, identity"), 400);
    assert_int_equal(with("Transfer-Encoding", ""), 400);
    assert_int_equal(with("Transfer-Encoding", "xchunked"), 400);
    assert_int_equal(with("Content-Length", "+1"), 400);
    assert_int_equal(with("Content-Length", "0x1"), 400);
    assert_int_equal(with("Content-Length", "1,1"), 400);
    assert_int_equal(with("Content-Length", ""), 400);
    assert_int_equal(with_two("Content-Length", "1", "Transfer-Encoding", "chunked"), 400);
    assert_int_equal(with_two("Content-Length", "1", "content-length", "1"), 400);
    assert_int_equal(with_two("Transfer-Encoding", "chunked", "Transfer-Encoding", "chunked"), 400);
    assert_int_equal(with_two("Authorization", "a", "Authorization", "b"), 400);
    assert_int_equal(with("Host", "other"), 400);
    const struct header chunked = {"Transfer-Encoding", "chunked"};
    assert_int_equal(form("POST", "/a", "HTTP/1.0", &chunked, 1).status, 400);
}

static void test_names_and_values(void **state)
{
    (void)state;
    assert_int_equal(with("X-Fine_1~", "caf\xc3\xa9 \t"), 0);
    assert_int_equal(with("Content-Length ", "1"), 400);
    assert_int_equal(with("X\tY", "1"), 400);
    assert_int_equal(with("", "1"), 400);
    assert_int_equal(with("X", "a\x01"), 400);
    assert_int_equal(with("X", "a\x7f"), 400);
    assert_int_equal(with("Expect", "100-Continue"), 0);
    assert_int_equal(with("Expect", "200-ok"), 417);
    assert_int_equal(form("GE T", "/", "HTTP/1.1", NULL, 0).status, 400);
    assert_int_equal(form("", "/", "HTTP/1.1", NULL, 0).status, 400);
    const struct guard_head no_host = {"GET", "/", "HTTP/1.1", NULL, 0};
    assert_int_equal(guard_form(&no_host).status, 400);
    const struct guard_head old = {"GET", "/", "HTTP/1.0", NULL, 0};
    assert_int_equal(guard_form(&old).status, 0);
}

static void test_targets_and_sizes(void **state)
{
    struct header many[HTTP_MAX_HEADERS + 1];
    (void)state;
    char *big = malloc(HTTP_MAX_HEADER_BYTES + 2);
    assert_non_null(big);
    memset(big, 'a', HTTP_MAX_HEADER_BYTES + 1);
    big[HTTP_MAX_HEADER_BYTES + 1] = '\0';
    assert_int_equal(target("/a%20b?c=d&e=+"), 0);
    assert_int_equal(target("/caf\xc3\xa9"), 0);
    assert_int_equal(target("http://localhost/"), 400);
    assert_int_equal(target("*"), 400);
    assert_int_equal(target(""), 400);
    assert_int_equal(target("/a b"), 400);
    assert_int_equal(target("/a#b"), 400);
    assert_int_equal(target("/a\x0b"), 400);
    assert_int_equal(with("X", big), 431);
    big[0] = '/';
    big[HTTP_MAX_URL_BYTES + 1] = '\0';
    assert_int_equal(target(big), 414);
    for (size_t i = 0; i < HTTP_MAX_HEADERS + 1; i++)
        many[i] = (struct header){"X", "y"};
    assert_int_equal(form("GET", "/", "HTTP/1.1", many, HTTP_MAX_HEADERS - 1).status, 0);
    assert_int_equal(form("GET", "/", "HTTP/1.1", many, HTTP_MAX_HEADERS).status, 431);
    free(big);
}

static unsigned names(const char *method, const char *host, const char *origin,
                      const struct guard_names *own)
{
    const struct header headers[] = {{"Host", host}, {"Origin", origin}};
    const struct guard_head head = {method, "/", "HTTP/1.1", headers, origin ? 2 : 1};
    return guard_names_check(&head, own).status;
}

static void test_hosts(void **state)
{
    static const char *const fine[] = {
        "localhost", "localhost:3000", "LOCALHOST",  "127.0.0.1",        "127.0.0.1:80",
        "127.1.2.3", "[::1]",          "[::1]:3000", "dash.example.org", "Dash.Example.Org:443"};
    static const char *const bad[] = {"evil.example",
                                      "localhost.evil.example",
                                      "127.0.0.1.evil",
                                      "127.0.0.1x",
                                      "1270.0.0.1",
                                      "localhost:80:80",
                                      "[::1].evil",
                                      "[::1]evil",
                                      "xdash.example.org",
                                      "dash.example.orgx",
                                      ":80",
                                      "localhost:"};
    static const char *const hosts[] = {"dash.example.org"};
    const struct guard_names own = {.hosts = hosts, .n_hosts = 1};
    const struct guard_names any = {.any_host = true};
    (void)state;
    for (size_t i = 0; i < sizeof fine / sizeof fine[0]; i++)
        assert_int_equal(names("GET", fine[i], NULL, &own), 0);
    for (size_t i = 0; i < sizeof bad / sizeof bad[0]; i++) {
        assert_int_equal(names("GET", bad[i], NULL, &own), 421);
        assert_int_equal(names("GET", bad[i], NULL, &any), 0);
    }
}

static void test_origins(void **state)
{
    static const char *const origins[] = {"https://app.example.org"};
    const struct guard_names own = {.origins = origins, .n_origins = 1};
    const struct header headers[] = {{"Host", "localhost"}, {"Origin", "https://app.example.org"}};
    const struct guard_head head = {"GET", "/", "HTTP/1.1", headers, 2};
    (void)state;
    assert_int_equal(names("POST", "localhost:3000", "http://localhost:3000", &own), 0);
    assert_int_equal(names("POST", "localhost:3000", "https://app.example.org", &own), 0);
    assert_int_equal(names("POST", "localhost:3000", "http://localhost:4000", &own), 403);
    assert_int_equal(names("POST", "localhost:3000", "https://app.example.org.evil", &own), 403);
    assert_int_equal(names("DELETE", "localhost:3000", "null", &own), 403);
    assert_int_equal(names("GET", "localhost:3000", "https://evil.example", &own), 0);
    assert_string_equal(guard_origin(&head, &own), "https://app.example.org");
    const struct guard_names nobody = {0};
    assert_null(guard_origin(&head, &nobody));
}

static void test_accounts_for_each_byte(void **state)
{
    (void)state;
    /* As the library leaves it: cut in place, NUL for blanks, colons and line ends. */
    static const char good[] = "GET\0/a\0HTTP/1.1\0\0A\0 b\0\0\0\0";
    char memory[64] = {0};
    memcpy(memory, good, sizeof good);
    struct header header = {memory + 17, memory + 20};
    struct guard_head head = {memory, memory + 4, memory + 7, &header, 1};
    assert_true(guard_accounts(&head, memory + 4, 25));
    assert_false(guard_accounts(&head, memory + 4, 24)); /* a bare LF somewhere */
    assert_false(guard_accounts(&head, memory + 4, 26)); /* bytes behind a NUL */
    assert_false(guard_accounts(&head, memory + 3, 25)); /* two blanks */
    header.value = good;                                 /* folded: not where it came */
    assert_false(guard_accounts(&head, memory + 4, 25));
    header = (struct header){memory + 17, memory + 20};
    head.n_headers = 0;
    assert_false(guard_accounts(&head, memory + 4, 25));
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_framing),           cmocka_unit_test(test_names_and_values),
        cmocka_unit_test(test_targets_and_sizes), cmocka_unit_test(test_hosts),
        cmocka_unit_test(test_origins),           cmocka_unit_test(test_accounts_for_each_byte),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
