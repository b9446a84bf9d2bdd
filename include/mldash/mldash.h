/* mldash.h: everything of libmldash.
 *
 * What it promises
 *  - A call that saves or appends has written its bytes when it returns: a crash or kill -9 of the
 * program loses nothing.
 *  - About a second later, after mld_flush(), at the end of the run, or at once with `durable`, it
 * survives power loss.
 *  - A file's SHA-256 is that of the stored bytes, and is checked whenever they are copied out.
 *  - Any number of processes and machines may write one experiment; each has files of its own, and
 * none waits for another.
 *
 * How you can hurt yourself
 *  - Do not edit or move files inside a run folder while a program writes it. Copying one is always
 * fine.
 *  - After fork() use the experiment's handle as before, or not at all; do not keep mld_series or
 * mld_writer across fork().
 *  - On a network file system, close() and fsync() are as good as the file system's; two machines
 * with clocks hours apart disagree on which of two changes was the later.
 *  - NULL is allowed only where a comment says so. Strings are UTF-8.
 *
 *      mld_experiment *run;
 *      struct mld_experiment_options options = MLD_EXPERIMENT_OPTIONS_INIT;
 *      options.project = "digits";
 *      options.name = "first";
 *      if (mld_experiment_open(&run, &options) != MLD_OK)
 *          errx(1, "%s", mld_error_message());
 */
#ifndef MLDASH_H
#define MLDASH_H

#include "mldash/error.h"
#include "mldash/experiment.h"
#include "mldash/file.h"
#include "mldash/folder.h"
#include "mldash/log.h"
#include "mldash/params.h"
#include "mldash/series.h"
#include "mldash/sync.h"
#include "mldash/value.h"

#endif
