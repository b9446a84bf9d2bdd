/* Projects that are being deleted: nothing of them is found, and nothing new gets in. */
#include "world.h"

#include "server/run_docs.h"

static void set_state(struct world *w, const char *id, const char *state)
{
    char text[200];
    struct meta_docs docs = {0};
    assert_ok(meta_get(w->meta, &docs, "projects", id));
    struct meta_doc doc = docs.docs[0];
    snprintf(text, sizeof text, "{\"name\":\"digits\",\"created\":1,\"state\":\"%s\"}", state);
    doc.text = text;
    doc.text_len = strlen(text);
    assert_ok(meta_replace(w->meta, &doc));
    meta_docs_free(&docs);
}

static size_t count_listed(struct world *w, const char *project)
{
    struct experiment_page page;
    const struct experiment_filter filter = {.namespace_id = "ns1", .project = project};
    assert_ok(experiment_list(&page, w->meta, &filter, (struct meta_cursor){0}, 10));
    size_t n = page.n;
    arena_free(&page.arena);
    return n;
}

static bool is_listed(struct world *w, const char *project)
{
    struct buf out;
    struct run_page page = {.query = "projects", .limit = 10};
    buf_init(&out, 10000);
    assert_ok(run_put_projects(&out, w->meta, "ns1", &page));
    bool listed = strstr(buf_text(&out), project) != NULL;
    assert_null(strstr(buf_text(&out), "[,"));
    buf_free(&out);
    run_page_free(&page);
    return listed;
}

static void test_deleting(void **unused)
{
    (void)unused;
    struct world w;
    struct experiment_doc e;
    bool created;
    const char *id;
    struct registration r = {.namespace_id = "ns1", .project = "digits", .name = "new", .run = "r"};
    struct registration other = {
        .namespace_id = "ns1", .project = "letters", .name = "e", .run = "r"};
    world_open(&w, NULL);
    assert_ok(experiment_register(&e, &created, &w.arena, w.meta, &other));
    assert_int_equal(count_listed(&w, NULL), 2);
    assert_ok(project_find(&id, &w.arena, w.meta, "ns1", "digits"));
    assert_true(is_listed(&w, "digits") && is_listed(&w, "letters"));
    set_state(&w, id, "deleting");
    assert_int_equal(count_listed(&w, NULL), 1);
    assert_false(is_listed(&w, "digits"));
    assert_true(is_listed(&w, "letters"));
    assert_int_equal(experiment_register(&e, &created, &w.arena, w.meta, &r), MLD_ESTATE);
    assert_string_equal(error_field(), "project");
    r.name = "baseline"; /* not even one that was there */
    assert_int_equal(experiment_register(&e, &created, &w.arena, w.meta, &r), MLD_ESTATE);
    assert_int_equal(project_find(&id, &w.arena, w.meta, "ns1", "digits"), MLD_ENOTFOUND);
    world_close(&w);
}

int main(void)
{
    const struct CMUnitTest tests[] = {cmocka_unit_test(test_deleting)};
    return cmocka_run_group_tests(tests, NULL, NULL);
}
