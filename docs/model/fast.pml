/* SPDX-License-Identifier: Apache-2.0
 *
 * handover=fast: libvirt lets the destination run by itself, and never two run. Checked by hack/model.
 *
 * The source's shim has the call by which that happens (Finish) in its hands, as it goes through its
 * ferry. It lets the call go only when its QEMU stands as a whole (held), and QEMU stands until the
 * destination's shim says RUNNING or GONE. What libvirt tells a QEMU that stands is read when it
 * goes on (s_cont).
 *
 * Read with README.md. As in handover.pml one guarded command is one step of the program, s_... and
 * d_... die with the shim, and sj, dj, sd, dd, held and what is in libvirt's hands do not.
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

mtype = { RUNNING, REFUSED, GONE, QUERY };                                        /* messages */
mtype = { J_PREPARED, J_FENCING, J_RELEASED, J_KEPT, J_NONE, J_REFUSED, J_RUNNING }; /* journals */
mtype = { RUN, PAUSED, NONE, INCOMING, COMPLETE };                                /* domains */
mtype = { COPY, ASKS, WAITS, RESUMES, OVER };                                     /* libvirt's job at S */

chan to_s = [2] of { mtype };
chan to_d = [2] of { mtype };

mtype sj = J_PREPARED, dj = J_NONE;
mtype sd = RUN, dd = INCOMING;
mtype lv = COPY;
bool held = false;   /* the source's QEMU stands; nobody but a shim ends that */
bool s_cont = false; /* libvirt's word to it is not read yet */
bool asked = false;  /* Finish is on its way to D's libvirt, or has come there */
bool broken = false; /* the connection of the two libvirts */

byte losses = LOSSES, repeats = REPEATS, crashes = CRASHES, spurious = 1, deaths = 1;
bool died = false;   /* history: D's guest ended by itself */

bool s_running, s_gone, s_refused, s_out, s_told;
bool d_told, d_cannot;

#define s_ended (sj == J_RELEASED || (sj == J_KEPT && sd == RUN))
#define d_ended (dj == J_RUNNING || (dj == J_REFUSED && dd == NONE))

inline send(q, m)
{
	if
	:: len(q) == 2
	:: len(q) < 2 -> q!m
	:: len(q) < 2 && losses > 0 -> losses--
	:: len(q) == 0 && repeats > 0 -> repeats--; q!m; q!m
	fi
}

inline source_runs()
{
	assert(sd == PAUSED && dd != RUN && !held);
	assert(sj != J_FENCING && sj != J_RELEASED);
	assert(!asked || dd == NONE); /* nor can anything come to run over there later */
	sd = RUN; s_cont = false
}

/* The source's libvirt. Its connection breaks when a ferry ends, and when it hears nothing for long. */
active proctype LibvirtS()
{
end:	do
	:: atomic { lv == COPY && sd == RUN -> sd = PAUSED; lv = ASKS }
	:: atomic { lv == ASKS && broken -> lv = RESUMES }
	:: atomic { lv == COPY && broken -> lv = OVER }
	:: atomic { lv == WAITS && (broken || true) -> broken = true; lv = RESUMES } /* the answer is kept back */
	:: atomic { lv == RESUMES && sd == NONE -> lv = OVER }
	:: atomic { lv == RESUMES && sd == PAUSED && held && !s_cont -> s_cont = true }
	:: atomic { lv == RESUMES && sd == PAUSED && !held -> source_runs(); lv = OVER }
	od
}

/* The destination's: it lets the guest run when it is asked to, or fails; it drops a guest that it
 * was not asked about when the connection ends. */
active proctype LibvirtD()
{
end:	do
	:: atomic { dd == INCOMING && lv != COPY && !broken -> dd = COMPLETE }
	:: atomic { dd == COMPLETE && asked -> assert(sd != RUN && (sd == NONE || held)); dd = RUN }
	:: atomic { dd == COMPLETE && asked -> dd = NONE }
	:: atomic { (dd == INCOMING || dd == COMPLETE) && broken -> dd = NONE }
	od
}

active proctype Source()
{
end:	do
	/* Finish is at the gate: stop QEMU, see that it stands, and only then let it go. */
	:: atomic { sj == J_PREPARED && lv == ASKS && !broken && !s_out && !held && sd == PAUSED -> held = true }
	:: atomic { sj == J_PREPARED && lv == ASKS && !broken && !s_out && held -> asked = true; lv = WAITS }

	:: atomic { sj == J_PREPARED && s_running && sd != RUN -> sj = J_FENCING }
	:: atomic { sj == J_FENCING -> sd = NONE; held = false; s_cont = false; sj = J_RELEASED }

	/* A wish to stop counts as long as nothing can run over there. */
	:: atomic { sj == J_PREPARED && !s_out -> s_out = true }
	:: atomic { sj == J_PREPARED && s_out && !asked && lv != WAITS && !broken -> broken = true; held = false }
	:: atomic { sj == J_PREPARED && s_gone && held -> held = false; broken = true;
		if :: s_cont -> source_runs(); lv = OVER :: else fi }
	:: atomic { sj == J_PREPARED && lv == OVER && sd == RUN && (s_out || s_gone) -> sj = J_KEPT }

	:: atomic { to_s??RUNNING -> s_running = true }
	:: atomic { to_s??GONE -> s_gone = true }
	:: atomic { to_s??REFUSED -> s_refused = true }
	:: atomic { sj == J_PREPARED && !s_told && held -> s_told = true; send(to_d, QUERY) }
	:: atomic { timeout && !s_ended && s_told -> s_told = false }

	/* Its ferry goes with it: Finish goes no more if it has not gone. What it finds: QEMU stands or not. */
	:: atomic { crashes > 0 && !s_ended -> crashes--; broken = true;
		s_running = false; s_gone = false; s_refused = false; s_told = false; s_out = true;
		if
		:: !asked && held -> if :: true :: held = false fi /* it stands, or was only about to */
		:: else
		fi }
	/* Stopped, but the call never went: that is not known any more, D has to say that it has nothing. */
	od
}

active proctype Destination()
{
end:	do
	:: atomic { dj == J_NONE && dd == RUN -> dj = J_RUNNING; d_told = false }
	:: atomic { dj == J_RUNNING && !d_told -> d_told = true; send(to_s, RUNNING) }

	/* Cannot go on: journal first, then the copy, then the word that it is gone. */
	:: atomic { !d_cannot && dj == J_NONE && dd != RUN -> d_cannot = true }
	:: atomic { d_cannot && dj == J_NONE && dd != RUN -> dj = J_REFUSED; d_told = false }
	:: atomic { dj == J_NONE && dd == NONE -> dj = J_REFUSED; d_told = false }
	:: atomic { dj == J_REFUSED && dd != NONE && !d_told -> d_told = true; send(to_s, REFUSED) }
	:: atomic { dj == J_REFUSED && dd != NONE -> dd = NONE; broken = true; d_told = false }
	:: atomic { dj == J_REFUSED && dd == NONE && !d_told -> d_told = true; send(to_s, GONE) }
	:: atomic { deaths > 0 && dj == J_NONE && dd == COMPLETE -> deaths--; died = true; dd = NONE }

	:: atomic { to_d??QUERY -> d_told = false }
	:: atomic { timeout && !s_ended && d_told -> d_told = false }
	:: atomic { spurious > 0 && d_told && !s_ended -> spurious--; d_told = false }

	:: atomic { crashes > 0 && !d_ended -> crashes--; broken = true; d_told = false; d_cannot = false }
	od
}

ltl ends { <> [] (s_ended && d_ended && ((sd == RUN && dd == NONE) || (sd == NONE && dd == RUN))) }
