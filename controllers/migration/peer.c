/* SPDX-License-Identifier: Apache-2.0 */
/* The words between the two shims. Whatever comes in is checked against pod, session and epoch, and
 * means at most what the model says; what is not understood is dropped with a line in the log. */
#include <stdio.h>
#include <string.h>

#include "controllers/migration/internal.h"
#include "lib/log.h"
#include "lib/message.h"
#include "peer.pb-c.h"

typedef struct Podferry__Peer__V1__Peer PeerMessage;

/* -- out -- */

/* Everything a word may need, so that the message can point into it. */
typedef struct Words {
        Podferry__Peer__V1__Handoff handoff;
        Podferry__Peer__V1__Ready ready;
        Podferry__Peer__V1__Released released;
        Podferry__Peer__V1__Kept kept;
        Podferry__Peer__V1__Refused refused;
        Podferry__Peer__V1__Running running;
        Podferry__Peer__V1__Query query;
        Podferry__Peer__V1__Failed failed;
        char text[sizeof(((Error *)NULL)->text)];
        char step[24];
} Words;

static void words_init(Words *w) {
        podferry__peer__v1__handoff__init(&w->handoff);
        podferry__peer__v1__ready__init(&w->ready);
        podferry__peer__v1__released__init(&w->released);
        podferry__peer__v1__kept__init(&w->kept);
        podferry__peer__v1__refused__init(&w->refused);
        podferry__peer__v1__running__init(&w->running);
        podferry__peer__v1__query__init(&w->query);
        podferry__peer__v1__failed__init(&w->failed);
        w->text[0] = '\0';
        w->step[0] = '\0';
}

static void fill(const Migration *m, MigrationWord word, PeerMessage *p, Words *w) {
        switch (word) {
        case WORD_HANDOFF:
                p->body_case = PODFERRY__PEER__V1__PEER__BODY_HANDOFF;
                p->handoff = &w->handoff;
                w->handoff.envelope = (ProtobufCBinaryData){ m->handoff.len, m->handoff.data };
                break;
        case WORD_READY:
                p->body_case = PODFERRY__PEER__V1__PEER__BODY_READY;
                p->ready = &w->ready;
                break;
        case WORD_RELEASED:
                p->body_case = PODFERRY__PEER__V1__PEER__BODY_RELEASED;
                p->released = &w->released;
                break;
        case WORD_KEPT:
                p->body_case = PODFERRY__PEER__V1__PEER__BODY_KEPT;
                p->kept = &w->kept;
                w->kept.reason = w->text;
                break;
        case WORD_REFUSED:
                p->body_case = PODFERRY__PEER__V1__PEER__BODY_REFUSED;
                p->refused = &w->refused;
                w->refused.reason = w->text;
                w->refused.gone = !m->begun || migration_domain_gone(m);
                break;
        case WORD_RUNNING:
                p->body_case = PODFERRY__PEER__V1__PEER__BODY_RUNNING;
                p->running = &w->running;
                if (m->progress.blackout_start_ns && m->progress.blackout_end_ns)
                        w->running.blackout_ns =
                                m->progress.blackout_end_ns - m->progress.blackout_start_ns;
                break;
        case WORD_QUERY:
                p->body_case = PODFERRY__PEER__V1__PEER__BODY_QUERY;
                p->query = &w->query;
                break;
        case WORD_FAILED:
                p->body_case = PODFERRY__PEER__V1__PEER__BODY_FAILED;
                p->failed = &w->failed;
                w->failed.step = w->step;
                w->failed.code = m->error.code;
                w->failed.reason = w->text;
                break;
        case _WORD_MAX:
                break;
        }
}

static void send_word(Migration *m, MigrationWord word, const char *pod, const char *session,
                      uint64_t epoch) {
        PeerMessage p = PODFERRY__PEER__V1__PEER__INIT;
        _cleanup_buf_ Buf b = {};
        char pod_copy[JOURNAL_NAME_MAX], session_copy[JOURNAL_NAME_MAX];
        Words w;

        words_init(&w);
        (void)snprintf(w.text, sizeof(w.text), "%s", m->error.text);
        (void)snprintf(w.step, sizeof(w.step), "%s", migration_phase_name(m->progress.phase));
        (void)snprintf(pod_copy, sizeof(pod_copy), "%s", pod);
        (void)snprintf(session_copy, sizeof(session_copy), "%s", session);
        if (m->numbers[word] == 0)
                m->numbers[word] = ++m->number;
        p.pod = pod_copy;
        p.session = session_copy;
        p.epoch = epoch;
        p.number = m->numbers[word];
        fill(m, word, &p, &w);
        if (buf_reserve(&b, protobuf_c_message_get_packed_size(&p.base)) < 0)
                return; /* the timer says it again */
        b.len = protobuf_c_message_pack(&p.base, b.data);
        (void)m->ops->send(m->u, b.data, b.len);
}

void migration_say(Migration *m, MigrationWord word) {
        send_word(m, word, m->source_pod, m->session,
                  m->source_epoch + (m->role == MIGRATION_DESTINATION));
}

/* -- in -- */

static void clean_text(const char *from, char *to, size_t n) {
        size_t i = 0;

        for (; from[i] && i + 1 < n; i++)
                to[i] = (unsigned char)from[i] < ' ' || from[i] == 0x7f ? '?' : from[i];
        to[i] = '\0';
}

/* The peer's reason becomes ours, if we have none of our own. */
static void peer_failed(Migration *m, const char *step, int code, const char *reason) {
        char clean_step[24], clean_reason[320];
        Error e = ERROR_INIT;

        if (m->error.code != 0)
                return;
        clean_text(step, clean_step, sizeof(clean_step));
        clean_text(reason, clean_reason, sizeof(clean_reason));
        if (code >= 0 || code < -4095)
                code = -EIO;
        (void)error_setf(&e, code, "at the %s: %s",
                         migration_role_name(m->role == MIGRATION_SOURCE ? MIGRATION_DESTINATION
                                                                         : MIGRATION_SOURCE),
                         clean_reason[0] ? clean_reason : "no reason given");
        migration_blame(m, clean_step[0] ? clean_step : "peer", code, &e);
        if (!migration_decided(m))
                migration_tell(m, m->progress.phase, MIGRATION_FAILED_PEER, m->error.text);
}

static void source_hears(Migration *m, const PeerMessage *p) {
        bool refused = m->peer == MIGRATION_PEER_REFUSED || m->peer == MIGRATION_PEER_GONE;

        switch ((int)p->body_case) {
        case PODFERRY__PEER__V1__PEER__BODY_READY:
                if (!refused && m->peer != MIGRATION_PEER_RUNNING)
                        m->peer = MIGRATION_PEER_READY;
                m->said = false;
                break;
        case PODFERRY__PEER__V1__PEER__BODY_REFUSED:
                peer_failed(m, "destination", -EIO, p->refused->reason);
                if (m->peer != MIGRATION_PEER_GONE)
                        m->peer = p->refused->gone ? MIGRATION_PEER_GONE : MIGRATION_PEER_REFUSED;
                if (m->peer != MIGRATION_PEER_GONE)
                        m->said = false;
                break;
        case PODFERRY__PEER__V1__PEER__BODY_RUNNING:
                if (m->journal != JOURNAL_RELEASED && !migration_is_fast(m)) {
                        log_warning("migration %s: RUNNING before RELEASED, ignored", m->session);
                        return;
                }
                m->peer = MIGRATION_PEER_RUNNING;
                m->progress.peer_blackout_ns = p->running->blackout_ns;
                /* The whole of it, on one clock: from the guest's stop here to the word that it
                 * runs there. */
                if (m->progress.blackout_start_ns && !m->progress.blackout_end_ns)
                        m->progress.blackout_end_ns = m->ops->now_ns(m->u);
                break;
        case PODFERRY__PEER__V1__PEER__BODY_QUERY:
                m->said = false;
                if (migration_is_fast(m) && m->has_handoff)
                        migration_say(m, WORD_HANDOFF);
                break;
        case PODFERRY__PEER__V1__PEER__BODY_FAILED:
                peer_failed(m, p->failed->step, p->failed->code, p->failed->reason);
                if (m->journal == JOURNAL_PREPARED)
                        m->wants_out = true;
                m->said = false;
                break;
        default:
                log_warning("migration %s: a word that no destination says (%d), ignored",
                            m->session, (int)p->body_case);
                return;
        }
        migration_pump(m);
}

static void take_handoff(Migration *m, const PeerMessage *p) {
        const ProtobufCBinaryData *b = &p->handoff->envelope;
        bool early = m->journal == JOURNAL_NONE || (migration_is_fast(m) && !m->resumed);

        if (m->has_handoff || !early) {
                if (m->journal != JOURNAL_NONE)
                        m->said = false; /* it asks for the answer again */
                return;
        }
        if (b->len == 0 || b->len > JOURNAL_PAYLOAD_MAX) {
                log_warning("migration %s: handoff of %zu bytes, ignored", m->session, b->len);
                return;
        }
        m->handoff.len = 0;
        if (buf_append(&m->handoff, b->data, b->len) < 0)
                return; /* it comes again */
        m->has_handoff = true;
}

static void destination_hears(Migration *m, const PeerMessage *p) {
        bool mine = m->journal == JOURNAL_OWNED || m->journal == JOURNAL_RUNNING;

        switch ((int)p->body_case) {
        case PODFERRY__PEER__V1__PEER__BODY_HANDOFF:
                take_handoff(m, p);
                break;
        case PODFERRY__PEER__V1__PEER__BODY_RELEASED:
                m->said = false;
                if (m->journal == JOURNAL_NONE) {
                        log_warning("migration %s: RELEASED before READY, ignored", m->session);
                        return;
                }
                if (m->peer != MIGRATION_PEER_KEPT)
                        m->peer = MIGRATION_PEER_RELEASED;
                break;
        case PODFERRY__PEER__V1__PEER__BODY_KEPT:
                m->said = false;
                if (mine) {
                        log_err("migration %s: KEPT after RELEASED, ignored", m->session);
                        return;
                }
                peer_failed(m, "source", -ECANCELED, p->kept->reason);
                if (m->peer != MIGRATION_PEER_RELEASED || m->journal == JOURNAL_REFUSED)
                        m->peer = m->peer == MIGRATION_PEER_RELEASED ? MIGRATION_PEER_RELEASED
                                                                     : MIGRATION_PEER_KEPT;
                break;
        case PODFERRY__PEER__V1__PEER__BODY_QUERY:
                m->said = false;
                break;
        case PODFERRY__PEER__V1__PEER__BODY_FAILED:
                peer_failed(m, p->failed->step, p->failed->code, p->failed->reason);
                break;
        default:
                log_warning("migration %s: a word that no source says (%d), ignored", m->session,
                            (int)p->body_case);
                return;
        }
        migration_pump(m);
}

/* A session that is over here: what was decided is answered from the journal. */
static void answer_from_journal(Migration *m, const PeerMessage *p) {
        const JournalRecord *last = &m->last;
        MigrationWord word;
        uint64_t other;

        if (last->kind == JOURNAL_NONE || strcmp(p->session, last->session) != 0 ||
            strcmp(p->pod, last->pod) != 0)
                return;
        switch ((int)last->kind) {
        case JOURNAL_KEPT:
        case JOURNAL_LOST:
                word = WORD_KEPT;
                other = last->epoch + 1;
                break;
        case JOURNAL_RELEASED:
        case JOURNAL_DONE:
                word = WORD_RELEASED;
                other = last->epoch + 1;
                break;
        case JOURNAL_REFUSED:
                word = WORD_REFUSED;
                other = last->epoch - 1;
                break;
        case JOURNAL_RUNNING:
                word = WORD_RUNNING;
                other = last->epoch - 1;
                break;
        default:
                return;
        }
        /* The end of a conversation is not answered: that would never end. */
        if (p->epoch == other && p->body_case != PODFERRY__PEER__V1__PEER__BODY_RUNNING &&
            !(p->body_case == PODFERRY__PEER__V1__PEER__BODY_REFUSED && p->refused->gone))
                send_word(m, word, last->pod, last->session, last->epoch);
}

/* Words of the transport and the logs are for others. */
static bool is_ours(const PeerMessage *p) {
        return p->body_case >= PODFERRY__PEER__V1__PEER__BODY_HANDOFF &&
               p->body_case <= PODFERRY__PEER__V1__PEER__BODY_FAILED;
}

void migration_on_peer(Migration *m, const void *bytes, size_t n) {
        ProtobufCMessage *base;
        const PeerMessage *p;
        Error e = ERROR_INIT;
        uint64_t epoch = m->source_epoch + (m->role == MIGRATION_SOURCE);

        base = message_unpack_strict(&podferry__peer__v1__peer__descriptor, bytes, n, &e);
        if (!base) {
                log_warning("migration %s: a message of the peer is dropped: %s", m->session,
                            error_text(&e, -EBADMSG));
                return;
        }
        p = (const PeerMessage *)(const void *)base;
        if (!is_ours(p))
                ;
        else if (!m->begun || strcmp(p->session, m->session) != 0)
                answer_from_journal(m, p);
        else if (strcmp(p->pod, m->source_pod) != 0 || p->epoch != epoch || p->number == 0)
                log_warning(
                        "migration %s: a message of pod %.76s, epoch %llu, number %u is dropped",
                        m->session, p->pod, (unsigned long long)p->epoch, p->number);
        else if (m->role == MIGRATION_SOURCE)
                source_hears(m, p);
        else
                destination_hears(m, p);
        protobuf_c_message_free_unpacked(base, NULL);
}
