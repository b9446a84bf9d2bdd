#include <errno.h>
#include <pthread.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "base/error.h"

static void names_and_words(void **state)
{
    (void)state;
    assert_string_equal(mld_error_name(MLD_OK), "MLD_OK");
    assert_string_equal(mld_error_name(MLD_ENOTFOUND), "MLD_ENOTFOUND");
    assert_string_equal(mld_error_words(MLD_ENOTFOUND), "not found");
    assert_string_equal(mld_error_name(MLD_ENOMEM), "MLD_ENOMEM");
    assert_string_equal(mld_error_words(MLD_ENOMEM), "out of memory");
    assert_string_equal(mld_error_name((enum mld_error)999), "unknown");
    assert_string_equal(mld_error_words((enum mld_error)999), "unknown error");
    assert_string_equal(mld_error_words((enum mld_error) - 1), "unknown error");
}

static void message_is_set_prefixed_and_cleared(void **state)
{
    (void)state;
    error_clear();
    assert_string_equal(mld_error_message(), "");
    assert_int_equal(error_set(MLD_ENAME, "name %d: %s", 7, "too long"), MLD_ENAME);
    assert_string_equal(mld_error_message(), "name 7: too long");
    assert_int_equal(error_prefix(MLD_ENAME, "save %s", "a.bin"), MLD_ENAME);
    assert_string_equal(mld_error_message(), "save a.bin: name 7: too long");
    error_set(MLD_EIO, "again: %s", mld_error_message());
    assert_string_equal(mld_error_message(), "again: save a.bin: name 7: too long");
    error_clear();
    assert_string_equal(mld_error_message(), "");
}

static void errno_chooses_the_code(void **state)
{
    static const struct {
        int number;
        enum mld_error code;
    } rows[] = {{ENOENT, MLD_ENOTFOUND}, {EEXIST, MLD_EEXISTS},     {EACCES, MLD_EACCESS},
                {EPERM, MLD_EACCESS},    {EROFS, MLD_EACCESS},      {ENOSPC, MLD_ENOSPACE},
                {EDQUOT, MLD_ENOSPACE},  {EFBIG, MLD_ETOOLARGE},    {ENOMEM, MLD_ENOMEM},
                {EIO, MLD_EIO},          {ENAMETOOLONG, MLD_ENAME}, {EMFILE, MLD_EIO}};

    (void)state;
    for (size_t i = 0; i < sizeof(rows) / sizeof(rows[0]); i++)
        assert_int_equal(error_set_errno(rows[i].number, "x"), rows[i].code);
    error_set_errno(ENOENT, "open %s", "/a/b");
    assert_string_equal(mld_error_message(), "open /a/b: No such file or directory");
}

static void message_is_one_line_of_utf8(void **state)
{
    (void)state;
    error_set(MLD_EIO, "%s",
              "a\nb\x1b[1m\x7f\tc \xc3\xa9 \xff\xc3 \xed\xa0\x80 \xc2\x9b"
              "d");
    assert_string_equal(mld_error_message(), "a?b?[1m??c \xc3\xa9 ?? ??? ?d");
}

static void long_message_is_cut_between_characters(void **state)
{
    char text[2 * ERROR_MESSAGE_MAX];

    (void)state;
    memset(text, 'a', sizeof(text));
    text[sizeof(text) - 1] = '\0';
    error_set(MLD_EIO, "%s", text);
    assert_int_equal(strlen(mld_error_message()), ERROR_MESSAGE_MAX - 1);

    memcpy(text + ERROR_MESSAGE_MAX - 3, "\xe2\x82\xac", 3); /* its last byte is one too many */
    error_set(MLD_EIO, "%s", text);
    assert_int_equal(strlen(mld_error_message()), ERROR_MESSAGE_MAX - 3);
    assert_null(strchr(mld_error_message(), '?'));

    error_set(MLD_EIO, "cause");
    error_prefix(MLD_EIO, "%s", text);
    assert_int_equal(strlen(mld_error_message()), ERROR_MESSAGE_MAX - 3);
}

static void *other_thread(void *argument)
{
    struct error_copy *copy = argument;

    if (mld_error_message()[0] != '\0')
        return NULL; /* sees another thread's message */
    error_save(error_set(MLD_ENOSPACE, "from the background"), copy);
    return copy;
}

static void message_belongs_to_its_thread(void **state)
{
    struct error_copy copy = {0};
    pthread_t thread;
    void *result = NULL;

    (void)state;
    error_set(MLD_EIO, "mine");
    assert_int_equal(pthread_create(&thread, NULL, other_thread, &copy), 0);
    pthread_join(thread, &result);
    assert_ptr_equal(result, &copy);
    assert_string_equal(mld_error_message(), "mine");
    assert_int_equal(error_restore(&copy), MLD_ENOSPACE);
    assert_string_equal(mld_error_message(), "from the background");
}

static void what_is_to_blame_goes_with_the_message(void **state)
{
    struct error_copy copy;
    char name[300];

    (void)state;
    assert_int_equal(error_blame(error_set(MLD_EINVALID, "no digest"), "sha256"), MLD_EINVALID);
    assert_string_equal(error_field(), "sha256");
    assert_int_equal(error_blame_element(MLD_EINVALID, "files", 3), MLD_EINVALID);
    assert_string_equal(error_field(), "files[3].sha256");
    error_prefix(MLD_EINVALID, "upload");
    assert_string_equal(error_field(), "files[3].sha256");
    error_save(MLD_EINVALID, &copy);
    error_set(MLD_EIO, "another");
    assert_string_equal(error_field(), "");
    error_restore(&copy);
    assert_string_equal(error_field(), "files[3].sha256");
    error_set_errno(ENOENT, "another");
    assert_string_equal(error_field(), "");
    error_blame_element(error_set(MLD_EINVALID, "x"), "streams", 0);
    assert_string_equal(error_field(), "streams[0]");
    memset(name, 'x', sizeof(name) - 1);
    name[sizeof(name) - 1] = '\0';
    error_blame(MLD_EINVALID, name);
    assert_true(strlen(error_field()) < ERROR_FIELD_MAX);
    error_clear();
    assert_string_equal(error_field(), "");
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(names_and_words),
        cmocka_unit_test(message_is_set_prefixed_and_cleared),
        cmocka_unit_test(errno_chooses_the_code),
        cmocka_unit_test(message_is_one_line_of_utf8),
        cmocka_unit_test(long_message_is_cut_between_characters),
        cmocka_unit_test(message_belongs_to_its_thread),
        cmocka_unit_test(what_is_to_blame_goes_with_the_message),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
