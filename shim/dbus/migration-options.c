/* SPDX-License-Identifier: Apache-2.0 */
/* The options of the Migration calls, a{sv}, laid over the defaults and the configuration. */
#include <inttypes.h>
#include <stdio.h>
#include <string.h>

#include "shim/api-error.h"
#include "shim/dbus/migration-options.h"
#include "shim/migrate/migrate-options.h"

/* The value as text; *text stays valid as long as the message. */
static int read_value(sd_bus_message *m, const char *type, const char **text, char *buf,
                      size_t size) {
        uint64_t t;
        uint32_t u;
        int b, r;

        *text = buf;
        switch (type[0]) {
        case 's':
                return sd_bus_message_read(m, "v", "s", text);
        case 'b':
                r = sd_bus_message_read(m, "v", "b", &b);
                (void)snprintf(buf, size, "%s", r >= 0 && b ? "true" : "false");
                return r;
        case 'u':
                r = sd_bus_message_read(m, "v", "u", &u);
                (void)snprintf(buf, size, "%" PRIu32, r >= 0 ? u : 0);
                return r;
        default:
                r = sd_bus_message_read(m, "v", "t", &t);
                (void)snprintf(buf, size, "%" PRIu64, r >= 0 ? t : 0);
                return r;
        }
}

static const char **find_text(const MigrationTexts *texts, const char **source, const char *name) {
        if (strcmp(name, "source_options") == 0)
                return source;
        for (size_t i = 0; texts && texts[i].name; i++)
                if (strcmp(texts[i].name, name) == 0)
                        return texts[i].ret;
        return NULL;
}

static int read_option(sd_bus_message *m, const MigrationTexts *texts, const char **source,
                       MigrationOptions *o, sd_bus_error *reterr) {
        const char *name, *contents, *text, **as_text;
        char buf[32], type;
        Error err = ERROR_INIT;
        int r;

        r = sd_bus_message_read(m, "s", &name);
        if (r < 0)
                return r;
        r = sd_bus_message_peek_type(m, &type, &contents);
        if (r < 0)
                return r;
        as_text = find_text(texts, source, name);
        if (as_text) {
                if (strcmp(contents, "s") != 0)
                        return api_error_setf(reterr, -EINVAL, "option %s must be a string", name);
                return sd_bus_message_read(m, "v", "s", as_text);
        }
        if (strlen(contents) != 1 || !strchr("sbut", contents[0]))
                return api_error_setf(reterr, -EINVAL, "option %s cannot be of type %s", name,
                                      contents);
        r = read_value(m, contents, &text, buf, sizeof(buf));
        if (r < 0)
                return r;
        r = migration_options_set(o, name, text, &err);
        return r < 0 ? api_error_set(reterr, r, &err) : 0;
}

int migration_read_options(sd_bus_message *m, const MigrationOptions *below,
                           const MigrationTexts *texts, MigrationOptions *ret,
                           sd_bus_error *reterr) {
        const char *source = "";
        MigrationOptions theirs;
        Error err = ERROR_INIT;
        int r;

        migration_options_init(ret);
        r = sd_bus_message_enter_container(m, 'a', "{sv}");
        if (r < 0)
                return r;
        while ((r = sd_bus_message_enter_container(m, 'e', "sv")) > 0) {
                r = read_option(m, texts, &source, ret, reterr);
                if (r < 0)
                        return r;
                r = sd_bus_message_exit_container(m);
                if (r < 0)
                        return r;
        }
        if (r < 0)
                return r;
        r = sd_bus_message_exit_container(m);
        if (r < 0)
                return r;
        if (source[0]) {
                r = migrate_options_read(source, &theirs, &err);
                below = &theirs;
        }
        if (r >= 0) {
                migration_options_lay_under(ret, below);
                r = migration_options_check(ret, &err);
        }
        return r < 0 ? api_error_set(reterr, r, &err) : 0;
}
