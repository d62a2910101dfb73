/* This Source Code Form is subject to the terms of the Mozilla Public
 * License, v. 2.0. If a copy of the MPL was not distributed with this
 * file, You can obtain one at https://mozilla.org/MPL/2.0/. */

/* See session_outcome.h. */
#include "session_outcome.h"

#include <ctype.h>
#include <stdio.h>
#include <string.h>

#include "common/signals.h"
#include "prepare.h"
#include "write.h"

#define PUBLISH_MS 600000        /* to fetch the weights and publish the bundle over a slow line */
#define IMAGE_SIDE_MAX 65535     /* more than any decoder takes */
#define MODEL_NAME_MAX 63        /* as for every model: cpn(7) */
#define MODEL_BACKEND "opencv.dnn" /* which runs what sessions publish */

int outcome_plot(struct cli *cli, const struct cpn_session_report *report, const char *path)
{
    char *picture = NULL;
    size_t size = 0;
    int rc = cpn_session_history(report, CPN_HISTORY_SVG, &picture, &size);
    if (rc < 0) {
        fprintf(stderr, "%s: %s: %s\n", cli->name, path, cpn_strerror(rc));
        return exit_code_of(rc);
    }
    int error = write_whole(path, picture, size);
    cpn_client_free_list(picture);
    if (error != 0) {
        fprintf(stderr, "%s: cannot write %s: %s\n", cli->name, path, strerror(error));
        return EXIT_CODE_MACHINE;
    }
    if (!cli->json) {
        printf("Curves:       %s\n", path);
    }
    return EXIT_CODE_OK;
}

bool outcome_image(const struct cli *cli, const char *text, uint32_t *width, uint32_t *height)
{
    unsigned w = 0, h = 0;
    int end = 0;
    if (text == NULL) {
        *width = *height = 0;
        return true;
    }
    if (sscanf(text, "%5ux%5u%n", &w, &h, &end) != 2 || text[end] != 0 || text[strspn(text, "0123456789x")] != 0 || w == 0 || h == 0
        || w > IMAGE_SIDE_MAX || h > IMAGE_SIDE_MAX) {
        fprintf(stderr, "%s: --image: '%s': expected width and height of the images that the rows are, such as 20x20\n", cli->name, text);
        return false;
    }
    *width = w;
    *height = h;
    return true;
}

bool outcome_name(const struct cli *cli, const char *name)
{
    size_t length = strlen(name);
    bool ok = isalnum((unsigned char)*name) && length <= MODEL_NAME_MAX;
    for (const char *at = name; *at != 0; at++) {
        ok = ok && ((unsigned char)*at < 0x80) && (isalnum((unsigned char)*at) || strchr("._-", *at) != NULL);
    }
    if (!ok) {
        fprintf(stderr, "%s: '%s': expected the name of a model, 1 to %d of a-z A-Z 0-9 . _ -, a letter or digit first\n", cli->name, name,
                MODEL_NAME_MAX);
    }
    return ok;
}

static void wake(void *client)
{
    cpn_client_wake(client);
}

static int publish_and_wait(struct cli *cli, const struct cpn_id *session, const struct cpn_session_publish_options *options,
                            bool *published)
{
    struct prepare prepare = { .cli = cli, .name = options->name, .backend = MODEL_BACKEND };
    int rc = cpn_session_publish(cli->client, session, options, PUBLISH_MS, &prepare.version);
    *published = rc == 0;
    if (rc < 0) {
        return signals_seen() ? EXIT_CODE_INTERRUPTED : cli_fail(cli, options->name, rc);
    }
    if (!cli->json) {
        printf("%s@%u published\n", prepare.name, prepare.version);
        fflush(stdout);
    }
    int status = prepare_wait(&prepare);
    if (cli->json) {
        cli_print_json(json_pack("{so}", "published", prepare_json(&prepare)), true);
    } else {
        prepare_tell(&prepare);
    }
    return status;
}

int outcome_publish(struct cli *cli, const struct cpn_id *session, const struct cpn_session_publish_options *options, bool *published)
{
    signals_install(wake, cli->client);
    int status = publish_and_wait(cli, session, options, published);
    signals_restore();
    return status;
}
