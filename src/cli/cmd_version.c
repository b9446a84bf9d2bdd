#include "base/json.h"
#include "cli/cli.h"
#include "cli/options.h"

enum cli_exit cmd_version(int argc, char **argv)
{
    bool json = false;
    const struct cli_option options[] = {
        {"json", 0, CLI_FLAG, NULL, "print JSON", &json},
        {0},
    };
    const struct cli_usage usage = {"version [--json]", "Prints the version.\n", options, 0, 0};
    struct cli_texts operands = {0};
    struct buf out;
    enum cli_exit code;
    buf_init(&out, CLI_MAX_OUTPUT_BYTES);
    if (!cli_parse(&code, &operands, &usage, argc, argv))
        goto out;
    if (json) {
        buf_putc(&out, '{');
        json_put_key(&out, "version");
        json_put_cstring(&out, mld_version());
        buf_puts(&out, "}\n");
    } else {
        buf_printf(&out, "ml-dash %s\n", mld_version());
    }
    code = cli_print(&out);
out:
    cli_texts_free(&operands);
    buf_free(&out);
    return code;
}
