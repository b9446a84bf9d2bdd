/* no_server.c: what the server's commands say when it was built without. */
#include "cli/cli.h"

#ifndef MLDASH_MISSING /* names of libraries, set by the build */
#define MLDASH_MISSING ""
#endif

enum cli_exit cmd_serve(int argc, char **argv)
{
    (void)argc;
    (void)argv;
    if (MLDASH_MISSING[0])
        cli_message("this ml-dash was built without the server: missing at build time: %s",
                    MLDASH_MISSING);
    else
        cli_message("this ml-dash was built without the server");
    return CLI_FAILURE;
}
