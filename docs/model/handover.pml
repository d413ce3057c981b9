/* SPDX-License-Identifier: Apache-2.0
 *
 * The hand-over of a pod from a source shim S to a destination shim D, with everything around it that
 * is not under their control: libvirt at the source (which pauses, resumes and kills the source's
 * guest by itself), a link that loses, repeats and reorders, and crashes of either shim, which only
 * its journal, its host's libvirt and its guest survive.
 *
 * Read with README.md in this folder. One guarded command = one step of the program; a crash may fall
 * between any two. Variables named s_... and d_... are memory and die with the shim; sj and dj are the
 * last journal record; sd and dd are what the two libvirts know.
 */

#ifndef LOSSES
#define LOSSES 1
#endif
#ifndef REPEATS
#define REPEATS 1
#endif
#ifndef CRASHES
#define CRASHES 2
#endif
#ifndef RUNTIME
#define RUNTIME 0 /* handover=runtime: it may be called off although D is ready */
#endif
#ifndef SESSIONS
#define SESSIONS 2
#endif

mtype = { HANDOFF, READY, RELEASED, KEPT, REFUSED, GONE, RUNNING, QUERY };            /* messages */
mtype = { J_NONE, J_PREPARED, J_FENCING, J_RELEASED, J_KEPT, J_LOST, J_DONE,          /* journals */
	  J_READY, J_OWNED, J_REFUSED, J_RUNNING };
mtype = { RUN, PAUSED, NONE, INCOMING, COMPLETE };                                    /* domains */
mtype = { IDLE, COPY, SWITCH, FINISHED, OK, FAILED };                                 /* libvirt's job */
mtype = { UNKNOWN, DEAD, ALIVE };                                                     /* the fence said */

chan to_d = [2] of { mtype, byte };
chan to_s = [2] of { mtype, byte };

mtype sj = J_NONE, dj = J_NONE;
mtype sd = RUN, dd = NONE;
mtype lv = IDLE;
byte sess = 0;

byte losses = LOSSES, repeats = REPEATS, crashes = CRASHES, spurious = 1, deaths = 1;
bool d_lost_reason = false; /* history: D's guest died, or D declared that it cannot go on */
bool moved_on = false;      /* history: the source ran again after D's copy was complete */

#define s_ended (sj == J_DONE || sj == J_LOST || (sj == J_KEPT && s_heard))
#define d_ended ((dj == J_RUNNING && dd == RUN) || (dj == J_REFUSED && dd == NONE))

bool s_told, s_ready, s_abort, s_refused, s_heard;
mtype s_fence = UNKNOWN;
bool d_told, d_handoff, d_adopted;
bool d_saved = false; /* the handoff is on D's disk */

/* A full link loses; a free one may lose or repeat while the budget lasts. */
inline send(q, m)
{
	if
	:: len(q) == 2
	:: len(q) < 2 -> q!m, sess
	:: len(q) < 2 && losses > 0 -> losses--
	:: len(q) == 0 && repeats > 0 -> repeats--; q!m, sess; q!m, sess
	fi
}

/* Every way in which the source's guest can come to run, and the destination's. */
inline source_runs()
{
	assert(sd == PAUSED && dd != RUN);
	assert(sj != J_RELEASED && sj != J_DONE && sj != J_LOST);
	sd = RUN;
	moved_on = moved_on || dd == COMPLETE
}

inline destination_runs()
{
	assert(sd == NONE && !moved_on);
	assert(sj == J_RELEASED && dj == J_OWNED && d_saved);
	dd = RUN
}

/* libvirt's migration with VIR_MIGRATE_PAUSED, as the source's daemon does it. It asks nobody. */
active proctype Libvirt()
{
end:	do
	:: atomic { lv == COPY && sd == RUN -> sd = PAUSED; lv = SWITCH }
	:: atomic { lv == SWITCH && dd == INCOMING -> dd = COMPLETE; lv = FINISHED }
	   /* the reply came back: the source's QEMU is killed as a matter of course */
	:: atomic { lv == FINISHED -> if :: sd == PAUSED -> sd = NONE :: else fi; lv = OK }
	   /* any error, an abort, or the last reply lost: the source is resumed as a matter of course
	    * (or left paused, when the daemon itself was restarted) */
	:: atomic { lv == COPY || lv == SWITCH ->
		if :: sd == PAUSED -> source_runs() :: true fi;
		if :: dd == INCOMING -> dd = NONE :: else fi;
		lv = FAILED }
	:: atomic { lv == FINISHED -> if :: sd == PAUSED -> source_runs() :: true fi; lv = FAILED }
	od
}

active proctype Source()
{
	byte n;

end:	do
	/* The session starts; D has prepared its empty domain. */
	:: atomic { sj == J_NONE && lv == IDLE && dj == J_NONE -> sj = J_PREPARED }
	:: atomic { sj == J_PREPARED && lv == IDLE && !s_abort -> lv = COPY; dd = INCOMING }

	/* Blackout seen: the handoff goes out, again and again until READY is heard. */
	:: atomic { sj == J_PREPARED && lv != IDLE && lv != COPY && lv != FAILED && sd != RUN && !s_ready &&
		!s_told -> s_told = true; send(to_d, HANDOFF) }
	/* Ready at the other side, and either nothing was aborted here or libvirt was quicker. */
	:: atomic { sj == J_PREPARED && s_ready && (!s_abort || lv == OK) -> sj = J_FENCING }
	/* One act: look that the guest stands still since the blackout, and kill it. */
	:: atomic { sj == J_FENCING && s_fence == UNKNOWN ->
		if
		:: sd == RUN -> s_fence = ALIVE
		:: else -> sd = NONE; s_fence = DEAD
		fi }
	:: atomic { sj == J_FENCING && s_fence == DEAD ->
		assert(sd == NONE && !moved_on); sj = J_RELEASED; s_told = false }
	:: atomic { sj == J_FENCING && s_fence == ALIVE -> assert(sd != NONE); sj = J_KEPT; s_told = false }
	:: atomic { sj == J_RELEASED && !s_told -> s_told = true; send(to_d, RELEASED) }

	/* A wish to stop (the user, a time limit, a failed step); libvirt decides which way it goes. */
	:: atomic { sj == J_PREPARED && !s_abort && (RUNTIME || !s_ready) -> s_abort = true }
	:: atomic { sj == J_PREPARED && s_abort && lv == IDLE -> lv = FAILED }
	/* Only when libvirt's call is over may the guest be called ours again. */
	:: atomic { sj == J_PREPARED && lv == FAILED && sd == PAUSED -> source_runs() }
	:: atomic { sj == J_PREPARED && lv == FAILED && sd == RUN ->
		assert(sd != NONE); sj = J_KEPT; s_told = false }
	:: atomic { sj == J_KEPT && !s_told -> s_told = true; send(to_d, KEPT) }
	:: atomic { sj == J_PREPARED && s_refused && lv == OK -> assert(d_lost_reason); sj = J_LOST }

	/* What the peer says. Another session's words are not for us. */
	:: atomic { to_s??READY(n) ->
		if
		:: n != sess
		:: n == sess && sj == J_PREPARED -> s_ready = true
		:: n == sess && sj == J_RELEASED -> send(to_d, RELEASED)
		:: n == sess && (sj == J_KEPT || sj == J_LOST) -> send(to_d, KEPT)
		:: else
		fi }
	:: atomic { to_s??QUERY(n) ->
		if
		:: n == sess && sj == J_PREPARED -> s_told = false
		:: n == sess && sj == J_RELEASED -> send(to_d, RELEASED)
		:: n == sess && (sj == J_KEPT || sj == J_LOST) -> send(to_d, KEPT)
		:: else
		fi }
	:: atomic { to_s??REFUSED(n) ->
		if
		:: n == sess && sj == J_PREPARED -> s_refused = true; s_ready = false; s_abort = true
		:: n == sess && sj == J_RELEASED -> assert(d_lost_reason); sj = J_LOST; send(to_d, KEPT)
		:: n == sess && (sj == J_KEPT || sj == J_LOST) -> send(to_d, KEPT)
		:: else
		fi }
	:: atomic { to_s??GONE(n) ->
		if
		:: n == sess && sj == J_PREPARED -> s_refused = true; s_ready = false; s_abort = true
		:: n == sess && sj == J_RELEASED -> assert(d_lost_reason); sj = J_LOST
		:: n == sess && sj == J_KEPT -> s_heard = true
		:: else
		fi }
	:: atomic { to_s??RUNNING(n) ->
		if
		:: n == sess && sj == J_RELEASED -> sj = J_DONE
		:: else
		fi }

	/* Nothing happens any more, or a timer fired early: say it again. */
	:: atomic { timeout && !s_ended && s_told -> s_told = false }
	:: atomic { spurious > 0 && !s_ended && s_told -> spurious--; s_told = false }

	/* Crash. What it finds when it is back: its journal (sj), its libvirt (sd, lv). A guest that is
	 * still there is its own; one that libvirt has put away is D's to run, if D is ready. */
	:: atomic { crashes > 0 && sj != J_NONE && !s_ended -> crashes--;
		s_told = false; s_ready = false; s_refused = false; s_heard = false; s_fence = UNKNOWN;
		s_abort = (sj == J_PREPARED && sd != NONE) }

	/* The pod stayed; the user tries again while old messages still fly about. */
	:: atomic { sj == J_KEPT && s_heard && d_ended && sess + 1 < SESSIONS && lv == FAILED && sd == RUN ->
		sess++; sj = J_NONE; dj = J_NONE; lv = IDLE; moved_on = false; d_lost_reason = false;
		s_told = false; s_ready = false; s_abort = false; s_refused = false; s_heard = false;
		s_fence = UNKNOWN; d_told = false; d_handoff = false; d_adopted = false;
		d_saved = false }
	od
}

active proctype Destination()
{
	byte n;

end:	do
	/* READY: everything to run the pod is on this host's disk and in its QEMU. */
	:: atomic { dj == J_NONE && d_handoff && dd == COMPLETE ->
		d_saved = d_handoff; dj = J_READY; d_told = false }
	:: atomic { dj == J_READY && !d_told -> d_told = true; send(to_s, READY) }
	:: atomic { dj == J_OWNED && dd == COMPLETE -> destination_runs() }
	:: atomic { dj == J_OWNED && dd == RUN -> dj = J_RUNNING; d_told = false }
	:: atomic { dj == J_RUNNING && !d_told -> d_told = true; send(to_s, RUNNING) }

	/* It cannot go on: its guest died, or a step failed. First the journal, then the word. A copy
	 * that is complete may be the only one: it is let go when S has said which way it went. */
	:: atomic { sj != J_NONE && lv != IDLE && (dj == J_NONE || dj == J_READY || dj == J_OWNED) && dd == NONE ->
		dj = J_REFUSED; d_told = false }
	:: atomic { deaths > 0 && dj != J_REFUSED && dd == COMPLETE ->
		deaths--; d_lost_reason = true; dd = NONE }
	:: atomic { deaths > 0 && (dj == J_NONE || dj == J_READY) && dd == COMPLETE ->
		deaths--; d_lost_reason = true; dj = J_REFUSED; d_told = false }
	:: atomic { dj == J_REFUSED && !d_told -> d_told = true;
		if
		:: dd == NONE -> send(to_s, GONE) /* REFUSED, and nothing is left here */
		:: else -> send(to_s, REFUSED)
		fi }

	:: atomic { d_adopted && dj == J_NONE && dd != NONE && !d_handoff && !d_told ->
		d_told = true; send(to_s, QUERY) }

	:: atomic { to_d??HANDOFF(n) ->
		if
		:: n == sess && dj == J_NONE -> d_handoff = true
		:: n == sess && dj != J_NONE -> d_told = false
		:: else
		fi }
	:: atomic { to_d??RELEASED(n) ->
		if
		:: n == sess && dj == J_READY -> dj = J_OWNED
		:: n == sess && dj == J_REFUSED -> dd = NONE; d_told = false
		:: n == sess && dj == J_RUNNING -> d_told = false
		:: else
		fi }
	:: atomic { to_d??KEPT(n) ->
		if
		:: n == sess && (dj == J_NONE || dj == J_READY || dj == J_REFUSED) ->
			dd = NONE; dj = J_REFUSED; d_told = false
		:: n == sess && (dj == J_OWNED || dj == J_RUNNING) -> assert(false)
		:: else
		fi }

	:: atomic { timeout && !d_ended && d_told -> d_told = false }
	:: atomic { spurious > 0 && !d_ended && d_told -> spurious--; d_told = false }

	:: atomic { crashes > 0 && sj != J_NONE && !d_ended -> crashes--;
		d_told = false; d_handoff = false; d_adopted = true }
	od
}

/* Everything else is asserted where it happens. Nothing is assumed but that faults are finite. */
ltl ends { <> [] (s_ended && d_ended && (sd == RUN || dd == RUN || d_lost_reason)) }
