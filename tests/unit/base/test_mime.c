#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <string.h>

#include <cmocka.h>

#include "base/mime.h"

static const char unknown[] = "application/octet-stream";

static void knows_the_types_of_training(void **state)
{
    static const char *const rows[][2] = {
        {"config.json", "application/json"},
        {"plot.png", "image/png"},
        {"a.jpg", "image/jpeg"},
        {"a.jpeg", "image/jpeg"},
        {"a.gif", "image/gif"},
        {"a.svg", "image/svg+xml"},
        {"a.pdf", "application/pdf"},
        {"a.mp4", "video/mp4"},
        {"a.txt", "text/plain"},
        {"a.csv", "text/csv"},
        {"README.md", "text/markdown"},
        {"a.yaml", "application/yaml"},
        {"a.html", "text/html"},
        {"a.py", "text/x-python"},
        {"a.h5", "application/x-hdf5"},
        {"a.zip", "application/zip"},
        {"a.tar", "application/x-tar"},
        {"a.webp", "image/webp"},
        {"a.bin", unknown},
        {"a.pt", unknown},
        {"a.pth", unknown},
        {"a.ckpt", unknown},
        {"a.safetensors", unknown},
        {"a.npz", unknown},
        {"a.npy", unknown},
        {"a.pkl", unknown},
        {"a.parquet", unknown},
        {"a.jsonl", unknown},
    };

    (void)state;
    for (size_t i = 0; i < sizeof(rows) / sizeof(rows[0]); i++)
        assert_string_equal(mime_type_of(rows[i][0]), rows[i][1]);
}

/* As Python's mimetypes.guess_type() answers for the same names. */
static void reads_extensions_as_python_does(void **state)
{
    static const char *const rows[][2] = {
        {"a.PNG", "image/png"},
        {"a.b.png", "image/png"},
        {"png", unknown},
        {"", unknown},
        {".", unknown},
        {"a.", unknown},
        {".png", unknown},
        {"..png", unknown},
        {".bashrc.txt", "text/plain"},
        {"dir.json/a", unknown},
        {"dir/.json", unknown},
        {"a.tar.gz", "application/x-tar"},
        {"a.tgz", "application/x-tar"},
        {"a.TGZ", "application/x-tar"},
        {"a.csv.gz", "text/csv"},
        {"a.csv.xz", "text/csv"},
        {"a.json.GZ", unknown},
        {"a.gz", unknown},
        {".gz", unknown},
        {".png.gz", unknown},
        {"a.tar.Z", "application/x-tar"},
        {"a.b.svgz", "image/svg+xml"},
        {"a.pngx", unknown},
        {"a.pn", unknown},
    };

    (void)state;
    for (size_t i = 0; i < sizeof(rows) / sizeof(rows[0]); i++)
        assert_string_equal(mime_type_of(rows[i][0]), rows[i][1]);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(knows_the_types_of_training),
        cmocka_unit_test(reads_extensions_as_python_does),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
