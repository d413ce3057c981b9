/* SPDX-License-Identifier: Apache-2.0 */
#include "hostdev/libvirt/xml-writer.h"

#include <assert.h>
#include <inttypes.h>
#include <stdio.h>
#include <string.h>

static void put(XmlWriter *w, const char *s) {
        if (w->r < 0)
                return;
        w->r = buf_append(&w->out, s, strlen(s));
        if (w->r < 0)
                (void)error_oom(&w->error);
}

static void indent(XmlWriter *w) {
        put(w, "\n");
        for (unsigned i = 0; i < w->depth; i++)
                put(w, "  ");
}

static void end_tag(XmlWriter *w) {
        if (w->in_tag)
                put(w, ">");
        w->in_tag = false;
}

/* Length of the UTF-8 sequence at s, or 0 if it is not one (overlong, surrogate, out of range). */
static size_t utf8_length(const unsigned char *s) {
        static const struct {
                unsigned char mask, lead;
                uint32_t least;
        } forms[] = { { 0x80, 0x00, 0 },
                      { 0xe0, 0xc0, 0x80 },
                      { 0xf0, 0xe0, 0x800 },
                      { 0xf8, 0xf0, 0x10000 } };

        for (size_t n = 0; n < ELEMENTSOF(forms); n++) {
                uint32_t c = s[0] & (unsigned char)~forms[n].mask;

                if ((s[0] & forms[n].mask) != forms[n].lead)
                        continue;
                for (size_t i = 1; i <= n; i++) {
                        if ((s[i] & 0xc0) != 0x80)
                                return 0;
                        c = c << 6 | (s[i] & 0x3fU);
                }
                if (c < forms[n].least || c > 0x10ffff || (c >= 0xd800 && c <= 0xdfff) ||
                    c == 0xfffe || c == 0xffff)
                        return 0;
                return n + 1;
        }
        return 0;
}

/* In an attribute, a line break or tab would come back as a blank: written as references they come
 * back as they were, but nothing of ours has a use for them, so they are refused as well. */
static void put_escaped(XmlWriter *w, const char *what, const char *value) {
        const char *from = value, *s = value;

        while (*s && w->r >= 0) {
                const char *entity = NULL;
                size_t n = utf8_length((const unsigned char *)s);

                if (n == 0 || (unsigned char)*s < 0x20 || *s == 0x7f) {
                        w->r = error_setf(&w->error, -EINVAL,
                                          "%s %s: byte 0x%02x cannot stand in XML",
                                          w->depth > 0 ? w->open[w->depth - 1] : "document", what,
                                          (unsigned char)*s);
                        return;
                }
                switch (*s) {
                case '&':
                        entity = "&amp;";
                        break;
                case '<':
                        entity = "&lt;";
                        break;
                case '>':
                        entity = "&gt;";
                        break;
                case '"':
                        entity = "&quot;";
                        break;
                case '\'':
                        entity = "&apos;";
                        break;
                default:
                        s += n;
                        continue;
                }
                w->r = buf_append(&w->out, from, (size_t)(s - from));
                put(w, entity);
                from = ++s;
        }
        put(w, from);
}

void xml_open(XmlWriter *w, const char *element) {
        assert(w->depth < XML_DEPTH_MAX && !w->has_text);
        end_tag(w);
        if (w->depth > 0)
                indent(w);
        put(w, "<");
        put(w, element);
        w->open[w->depth++] = element;
        w->in_tag = true;
}

void xml_attr(XmlWriter *w, const char *name, const char *value) {
        assert(w->in_tag);
        put(w, " ");
        put(w, name);
        put(w, "=\"");
        put_escaped(w, name, value);
        put(w, "\"");
}

void xml_attr_u64(XmlWriter *w, const char *name, uint64_t value) {
        char s[32];

        (void)snprintf(s, sizeof(s), "%" PRIu64, value);
        xml_attr(w, name, s);
}

void xml_attr_hex(XmlWriter *w, const char *name, unsigned value) {
        char s[32];

        (void)snprintf(s, sizeof(s), "0x%02x", value);
        xml_attr(w, name, s);
}

void xml_text(XmlWriter *w, const char *value) {
        assert(w->in_tag);
        end_tag(w);
        put_escaped(w, "text", value);
        w->has_text = true;
}

void xml_close(XmlWriter *w) {
        assert(w->depth > 0);
        w->depth--;
        if (w->in_tag) {
                put(w, "/>");
        } else {
                if (!w->has_text)
                        indent(w);
                put(w, "</");
                put(w, w->open[w->depth]);
                put(w, ">");
        }
        w->in_tag = w->has_text = false;
}

void xml_text_element(XmlWriter *w, const char *element, const char *value) {
        xml_open(w, element);
        xml_text(w, value);
        xml_close(w);
}

int xml_finish(XmlWriter *w, char **ret, Error *reterr) {
        Error e = w->error;
        int r;

        assert(w->depth == 0);
        put(w, "\n");
        if (w->r >= 0)
                w->r = buf_append(&w->out, "", 1);
        r = w->r;
        if (r >= 0)
                *ret = (char *)TAKE(w->out.data);
        buf_done(&w->out);
        *w = (XmlWriter){};
        return r < 0 ? error_setf(reterr, r, "%s", error_text(&e, r)) : 0;
}
