/* SPDX-License-Identifier: Apache-2.0 */
#pragma once

#include <stdbool.h>
#include <stdint.h>

#include "lib/buf.h"
#include "lib/error.h"

/* Writes XML into a buffer, element by element, and escapes every value.
 *
 * What cannot stand in an XML 1.0 document (control characters, bytes that are not UTF-8) is
 * refused, not dropped. The first failure sticks: later calls do nothing, and xml_finish() returns
 * it, with the element and attribute that it happened in. Element and attribute names are literals
 * of the caller. Zero-initialised is empty. */
#define XML_DEPTH_MAX 16U

typedef struct XmlWriter {
        Buf out;
        const char *open[XML_DEPTH_MAX]; /* names of the elements that are not closed */
        unsigned depth;
        bool in_tag; /* "<name" is written, ">" is not */
        bool has_text;
        int r;
        Error error;
} XmlWriter;

void xml_open(XmlWriter *w, const char *element);
void xml_attr(XmlWriter *w, const char *name, const char *value);
void xml_attr_u64(XmlWriter *w, const char *name, uint64_t value);
void xml_attr_hex(XmlWriter *w, const char *name, unsigned value); /* "0x1f" */
void xml_text(XmlWriter *w, const char *value);                    /* then only xml_close() */
void xml_close(XmlWriter *w);

/* <element>text</element> */
void xml_text_element(XmlWriter *w, const char *element, const char *value);

/* The document, NUL-terminated and the caller's, once every element is closed. The writer is empty
 * again, also after a failure. */
int xml_finish(XmlWriter *w, char **ret, Error *reterr);
