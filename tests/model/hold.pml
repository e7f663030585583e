/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * Holds: the handshake between the threads of one host and its daemon (core/coherency-hold.c), with store
 * buffers of one entry as x86 has them. Two clients take and release for ever; the daemon revokes, gives up
 * and gets the extent back.
 * Checked: no hold outlives its tenure; the daemon never waits for a hold that has ended (progress).
 * -DNO_HOLD_BARRIER, -DNO_REVOKE_BARRIER, -DNO_RELEASE_BARRIER take one barrier away: spin must find an error.
 */
#define CLIENTS 2

bool gate = true;		/* open for the tenure */
bool revoke = false;		/* flag in the gate */
bool hold[CLIENTS];		/* words of the hold pages */
bool tenure = true;		/* ghost: this host holds the extent */
bool inside[CLIENTS];		/* ghost: the client reads and writes */
bool kicked = false;		/* a message to the daemon, who sleeps */

/* One store in flight per thread: what it will write when it drains. */
bool pending[CLIENTS];
bool pending_value[CLIENTS];
bool daemon_pending = false;

inline drain(c) {
	d_step {
		if
		:: pending[c] -> hold[c] = pending_value[c]; pending[c] = false
		:: else
		fi
	}
}

proctype client(byte c)
{
	bool g, r;

	do
	:: /* acquire */
		d_step { pending[c] = true; pending_value[c] = true };
#ifndef NO_HOLD_BARRIER
		drain(c);
#endif
		d_step { g = gate; r = revoke };
		if
		:: g && !r ->
			inside[c] = true;
			assert(tenure);
			inside[c] = false;
			/* release */
			drain(c);	/* the buffer is a queue of one here */
			d_step { pending[c] = true; pending_value[c] = false };
#ifndef NO_RELEASE_BARRIER
			drain(c);
#endif
			r = revoke;
			if
			:: r -> kicked = true
			:: else
			fi
		:: else ->
			/* back off; the slow path calls the daemon anyway */
			drain(c);
			d_step { hold[c] = false; kicked = true };
			(gate && !revoke)
		fi
	:: break	/* and never comes back */
	od
}

/* Memory drains store buffers when it likes. */
active proctype memory()
{
end:
	do
	:: d_step { pending[0] -> hold[0] = pending_value[0]; pending[0] = false }
	:: d_step { pending[1] -> hold[1] = pending_value[1]; pending[1] = false }
	:: d_step { daemon_pending -> revoke = true; daemon_pending = false }
	od
}

active proctype daemon()
{
	do
	:: /* revoke */
		daemon_pending = true;
#ifndef NO_REVOKE_BARRIER
		d_step { if :: daemon_pending -> revoke = true; daemon_pending = false :: else fi };
#endif
scan:
		if
		:: !hold[0] && !hold[1] -> skip
		:: else ->
			/* sleeps until told: a kick that never comes is a deadlock */
			kicked -> kicked = false;
			goto scan
		fi;
		/* give up */
		d_step { if :: daemon_pending -> revoke = true; daemon_pending = false :: else fi };
		assert(!inside[0] && !inside[1]);
		d_step { tenure = false; gate = false };
progress:
		/* and get it back */
		d_step { tenure = true; gate = true; revoke = false }
	od
}

init {
	atomic { run client(0); run client(1) }
}
