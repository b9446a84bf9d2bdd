/* Whose request it is behind proxies, and that nobody can say so but they. */
#include "server/http_proxy.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <string.h>

#include <cmocka.h>

static struct proxy_net nets[4];
static size_t n_nets;

static void trust(const char *text)
{
    assert_int_equal(proxy_parse(&nets[n_nets++], text), MLD_OK);
}

static int forget(void **state)
{
    (void)state;
    n_nets = 0;
    return 0;
}

/* Two headers of that name, NULL: fewer; and others around them. */
static const char *client(const char *peer, const char *first, const char *second)
{
    static char out[PROXY_ADDRESS_MAX];
    struct header headers[5] = {{"Host", "a"}};
    size_t n = 1;
    if (first != NULL)
        headers[n++] = (struct header){"x-forwarded-for", first};
    headers[n++] = (struct header){"X-Forwarded-Host", "192.0.2.9"};
    if (second != NULL)
        headers[n++] = (struct header){"X-Forwarded-For", second};
    const struct guard_head head = {"GET", "/", "HTTP/1.1", headers, n};
    proxy_client(out, peer, &head, nets, n_nets);
    return out;
}

static void believes_nobody_unless_told(void **state)
{
    (void)state;
    assert_string_equal(client("127.0.0.1", "192.0.2.1", NULL), "127.0.0.1");
    trust("10.0.0.0/8");
    assert_string_equal(client("127.0.0.1", "192.0.2.1", NULL), "127.0.0.1");
    assert_string_equal(client("11.0.0.1", "192.0.2.1", NULL), "11.0.0.1");
    assert_string_equal(client("?", "192.0.2.1", NULL), "?");
}

static void takes_the_last_hop_that_is_not_trusted(void **state)
{
    (void)state;
    trust("127.0.0.1");
    trust("10.1.0.0/16");
    assert_string_equal(client("127.0.0.1", "192.0.2.1", NULL), "192.0.2.1");
    assert_string_equal(client("127.0.0.1", NULL, NULL), "127.0.0.1");
    /* What the client itself wrote stands before what the proxy added. */
    assert_string_equal(client("127.0.0.1", "10.1.2.3, 127.0.0.1, 192.0.2.1", NULL), "192.0.2.1");
    assert_string_equal(client("127.0.0.1", "198.51.100.7,192.0.2.1 ,\t10.1.2.3", NULL),
                        "192.0.2.1");
    assert_string_equal(client("127.0.0.1", "10.2.0.1,10.1.255.255", NULL), "10.2.0.1");
    assert_string_equal(client("10.1.0.5", "198.51.100.7", "192.0.2.1"), "192.0.2.1");
    assert_string_equal(client("10.1.0.5", "198.51.100.7, 192.0.2.1", "10.1.0.6"), "192.0.2.1");
    /* All are trusted: the outermost. */
    assert_string_equal(client("10.1.0.5", "10.1.0.7", "10.1.0.6"), "10.1.0.7");
}

static void stops_at_what_is_no_address(void **state)
{
    static const char *const odd[] = {"unknown",     "",        " ",           "1.2.3",
                                      "1.2.3.4.5",   "_hidden", "192.0.2.1 x", "[::1",
                                      "1.2.3.4:5:6", "a,",      ",",           "300.1.1.1"};
    (void)state;
    trust("127.0.0.0/8");
    for (size_t i = 0; i < sizeof odd / sizeof odd[0]; i++) {
        char text[200];
        assert_string_equal(client("127.0.0.1", odd[i], NULL), "127.0.0.1");
        snprintf(text, sizeof text, "198.51.100.7,%s,127.0.0.2", odd[i]);
        assert_string_equal(client("127.0.0.1", text, NULL), "127.0.0.2");
    }
    char long_one[300];
    memset(long_one, '1', sizeof long_one - 1);
    long_one[sizeof long_one - 1] = '\0';
    assert_string_equal(client("127.0.0.1", long_one, NULL), "127.0.0.1");
}

static void reads_ipv6_and_ports(void **state)
{
    (void)state;
    trust("::1");
    trust("fd00::/9");
    assert_string_equal(client("::1", "192.0.2.1:4711", NULL), "192.0.2.1");
    assert_string_equal(client("::1", "2001:db8::7", NULL), "2001:db8::7");
    assert_string_equal(client("::1", "[2001:db8::7]:443", NULL), "2001:db8::7");
    assert_string_equal(client("::1", "[2001:db8::7], fd7f::1", NULL), "2001:db8::7");
    assert_string_equal(client("::1", "2001:db8::7, fd80::1", NULL), "fd80::1");
    assert_string_equal(client("::1", "::ffff:192.0.2.1", NULL), "192.0.2.1");
    trust("127.0.0.1");
    assert_string_equal(client("::ffff:127.0.0.1", "192.0.2.1", NULL), "192.0.2.1");
}

static void refuses_what_is_no_net(void **state)
{
    static const char *const bad[] = {"",           "localhost", "10.0.0.0/33", "10.0.0.0/",
                                      "::1/129",    "10.0.0/8",  "10.0.0.0/-1", "10.0.0.0/x",
                                      "10.0.0.0/8 "};
    struct proxy_net net;
    (void)state;
    for (size_t i = 0; i < sizeof bad / sizeof bad[0]; i++)
        assert_int_equal(proxy_parse(&net, bad[i]), MLD_EINVALID);
    trust("0.0.0.0/0");
    assert_string_equal(client("192.0.2.5", "198.51.100.7", NULL), "198.51.100.7");
    assert_string_equal(client("2001:db8::1", "198.51.100.7", NULL), "2001:db8::1");
}

#define TEST(name) cmocka_unit_test_setup(name, forget)

int main(void)
{
    const struct CMUnitTest tests[] = {
        TEST(believes_nobody_unless_told), TEST(takes_the_last_hop_that_is_not_trusted),
        TEST(stops_at_what_is_no_address), TEST(reads_ipv6_and_ports),
        TEST(refuses_what_is_no_net),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
