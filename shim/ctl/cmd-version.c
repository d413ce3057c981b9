/* SPDX-License-Identifier: Apache-2.0 */
/* podferry version and completion: what needs no pod. */
#include <stdio.h>
#include <string.h>

#include "shim/ctl/commands.h"
#include "shim/ctl/ctl.h"
#include "shim/ctl/json.h"

static const Option json_options[] = { CTL_OPTION_JSON };

static int version_run(Ctl *ctl, const Command *self, int argc, char **argv);
static int completion_run(Ctl *ctl, const Command *self, int argc, char **argv);

const Command command_version = {
        .name = "version",
        .operands = "",
        .summary = "Print the version",
        .options = json_options,
        .n_options = ELEMENTSOF(json_options),
        .completes = "",
        .run = version_run,
};

const Command command_completion = {
        .name = "completion",
        .operands = "bash",
        .summary = "Print the completion script of a shell",
        .text = "  source <(podferry completion bash)",
        .completes = "",
        .run = completion_run,
};

static int version_run(Ctl *ctl, const Command *self, int argc, char **argv) {
        _cleanup_json_ json_object *o = NULL;
        bool json = false;
        int n, status;
        char **operands;

        if (!ctl_simple(self, argc, argv, 0, 0, &json, &operands, &n, &status))
                return status;
        if (!json)
                (void)puts("podferry " PODFERRY_VERSION);
        else if ((o = json_object_new_object()) &&
                 json_add_string(o, "version", PODFERRY_VERSION) == 0)
                json_print(o, false);
        return CTL_OK;
}

static const char script_head[] =
        "# completion of podferry for bash\n"
        "_podferry() {\n"
        "        local word=${COMP_WORDS[COMP_CWORD]} command=${COMP_WORDS[1]} options= operands=\n"
        "        COMPREPLY=()\n"
        "        if [ \"$COMP_CWORD\" -eq 1 ]; then\n"
        "                mapfile -t COMPREPLY < <(compgen -W '";

static const char script_middle[] = "--help --version' -- \"$word\")\n"
                                    "                return\n"
                                    "        fi\n"
                                    "        case $command in\n";

static const char script_tail[] =
        "        esac\n"
        "        if [[ $word == -* ]]; then\n"
        "                mapfile -t COMPREPLY < <(compgen -W \"$options --help\" -- \"$word\")\n"
        "        elif [ \"$operands\" = pods ]; then\n"
        "                mapfile -t COMPREPLY < <(compgen -W \"$(podferry ps 2>/dev/null |\n"
        "                        awk 'NR > 1 { print $1 }' | sort -u)\" -- \"$word\")\n"
        "        elif [ \"$operands\" = files ]; then\n"
        "                mapfile -t COMPREPLY < <(compgen -f -- \"$word\")\n"
        "        fi\n"
        "}\n"
        "complete -o filenames -F _podferry podferry\n";

static void print_first_words(void) {
        for (size_t i = 0; commands[i]; i++)
                (void)printf("%.*s ", (int)strcspn(commands[i]->name, " "), commands[i]->name);
}

static int completion_run(Ctl *ctl, const Command *self, int argc, char **argv) {
        bool json = false;
        int n, status;
        char **operands;

        if (!ctl_simple(self, argc, argv, 1, 1, &json, &operands, &n, &status))
                return status;
        if (strcmp(operands[0], "bash") != 0)
                return ctl_usagef(self, "no completion for \"%.40s\", only for bash", operands[0]);
        (void)fputs(script_head, stdout);
        print_first_words();
        (void)fputs(script_middle, stdout);
        for (size_t i = 0; commands[i]; i++) {
                const Command *c = commands[i];

                (void)printf("        %.*s) operands=%s options='", (int)strcspn(c->name, " "),
                             c->name, c->completes);
                for (size_t k = 0; k < c->n_options; k++)
                        (void)printf("%s--%s", k > 0 ? " " : "", c->options[k].name);
                (void)printf("' ;;\n");
        }
        (void)fputs(script_tail, stdout);
        return CTL_OK;
}
