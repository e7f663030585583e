#!/usr/bin/env python3
# SPDX-License-Identifier: GPL-2.0-or-later
"""Reads transitions.tbl, the one statement of the directory word's transitions.

  table.py promela TABLE        the table as Promela, for coherency.pml (inline t_OP for each operation)
  table.py check TABLE DUMP     compares it with the code's table, for every word and operation of DUMP
  table.py markdown TABLE       the table for docs/coherency.md

DUMP comes from test-coherency-word --dump: one line "op self peer state owner sharers result" where
result is "held", an errno name, or "state owner sharers +N". It must hold every combination that the
first line ("hosts N") promises; a missing one fails like a wrong one.
"""
import sys

STATES = ['FREE', 'INVALID', 'SHARED', 'EXCLUSIVE', 'PENDING', 'QUARANTINED', 'SUSPECT', 'RECOVERING']


class Table:
    def __init__(self, path):
        self.shape, self.ops = {}, {}
        for n, line in enumerate(open(path), 1):
            words = line.split('#')[0].split()
            if not words:
                continue
            if words[0] == 'shape':
                self.shape[words[1]] = words[2:]
                continue
            op, state, guards, result = words[0], words[1], words[2].split(','), words[3:]
            if state != '*' and state not in STATES:
                sys.exit(f'{path}:{n}: no such state: {state}')
            if len(result) not in (1, 4):
                sys.exit(f'{path}:{n}: a result has one word or four')
            guards = [] if guards == ['-'] else guards
            self.ops.setdefault(op, []).append((state, guards, result))
        if set(self.shape) != set(STATES):
            sys.exit(f'{path}: every state needs a shape line')

    def damaged(self, state, owner, sharers):
        for rule in self.shape[state]:
            if rule == 'owner=0' and owner != 0:
                return True
            if rule == 'sharers=0' and sharers != 0:
                return True
            if rule == 'sharers>0' and sharers == 0:
                return True
            if rule == 'owner-not-sharer' and sharers >> owner & 1:
                return True
        return False

    def step(self, op, me, peer, state, owner, sharers):
        """What the table says, as the dump would write it."""
        bad = self.damaged(state, owner, sharers)
        if bad and op != 'condemn':
            return 'EUCLEAN'
        holds = {
            'mine': owner == me, 'other': owner != me, 'theirs': owner == peer,
            'in': sharers >> me & 1, 'out': not sharers >> me & 1, 'peer_in': sharers >> peer & 1,
            'alone': not sharers & ~(1 << me), 'crowd': sharers & ~(1 << me),
            'last': not sharers & ~(1 << peer), 'empty': not sharers, 'damaged': bad,
        }
        for frm, guards, result in self.ops[op]:
            if frm not in ('*', state) or not all(holds[g] for g in guards):
                continue
            if len(result) == 1:
                return result[0]
            to, own, shr, ver = result
            own = {'0': 0, 'self': me, 'peer': peer, 'keep': owner}[own]
            shr = {'0': 0, 'self': 1 << me, '+self': sharers | 1 << me, '-self': sharers & ~(1 << me),
                   '-peer': sharers & ~(1 << peer), 'self+peer': 1 << me | 1 << peer, 'keep': sharers}[shr]
            return f'{to} {own} {shr} {"+1" if ver == "+1" else "+0"}'
        sys.exit(f'table: no line for {op} in {state}')


def check(table, dump):
    lines = open(dump).read().splitlines()
    hosts = int(lines[0].split()[1])
    seen = {}
    for line in lines[1:]:
        op, me, peer, state, owner, sharers, result = line.split(None, 6)
        seen[(op, int(me), int(peer), state, int(owner), int(sharers))] = result
    wrong = 0
    wanted = 0
    for op in table.ops:
        for me in range(hosts):
            for peer in range(hosts):
                if peer == me:
                    continue
                for state in STATES:
                    for owner in range(hosts):
                        for sharers in range(1 << hosts):
                            key = (op, me, peer, state, owner, sharers)
                            want, got = table.step(*key), seen.pop(key, 'missing')
                            wanted += 1
                            if want != got:
                                wrong += 1
                                if wrong <= 20:
                                    print(f'{key}: the table says "{want}", the code says "{got}"')
    for key in list(seen)[:20]:
        print(f'{key}: in the code, not in the table')
    wrong += len(seen)
    print(f'{wanted} transitions compared, {wrong} differ')
    return wrong != 0


def promela(table):
    """One inline per operation: t_OP(e, me, peer) acts on the word of extent e, sets `res`."""
    out = ['/* Generated from transitions.tbl by table.py: do not edit. */',
           '#ifndef D_STEP', '#define D_STEP d_step', '#endif']
    for i, s in enumerate(STATES):
        out.append(f'#define {s} {i}')
    for i, r in enumerate(['DONE', 'HELD', 'EAGAIN', 'EPERM', 'ENOENT', 'EEXIST', 'EUCLEAN', 'EHOSTDOWN']):
        out.append(f'#define R_{r} {i}')
    guard = {
        'mine': '(w[e].own == me)', 'other': '(w[e].own != me)', 'theirs': '(w[e].own == peer)',
        'in': '((w[e].shr >> me) & 1)', 'out': '(!((w[e].shr >> me) & 1))',
        'peer_in': '((w[e].shr >> peer) & 1)', 'alone': '((w[e].shr & (255 - (1 << me))) == 0)',
        'crowd': '((w[e].shr & (255 - (1 << me))) != 0)', 'last': '((w[e].shr & (255 - (1 << peer))) == 0)',
        'empty': '(w[e].shr == 0)', 'damaged': 'false',
    }
    own = {'0': '0', 'self': 'me', 'peer': 'peer'}
    shr = {'0': '0', 'self': '(1 << me)', '+self': '(w[e].shr | (1 << me))',
           '-self': '(w[e].shr & (255 - (1 << me)))', '-peer': '(w[e].shr & (255 - (1 << peer)))',
           'self+peer': '((1 << me) | (1 << peer))'}
    for op, rows in table.ops.items():
        if op == 'condemn':
            continue
        out.append(f'inline t_{op}(e, me, peer) {{\n\tD_STEP {{\n\tif')
        earlier = []
        for frm, guards, result in rows:
            cond = [f'w[e].st == {frm}'] if frm != '*' else []
            cond += [guard[g] for g in guards]
            mine = ' && '.join(cond) or 'true'
            # Promela picks any true branch; the table means the first, so exclude the earlier ones.
            before = [f'!({c})' for f, c in earlier if frm in ('*', f) or f == '*']
            out.append(f'\t:: {" && ".join([mine] + before)} ->')
            earlier.append((frm, mine))
            if len(result) == 1:
                out.append(f'\t\tres = R_{result[0].upper()}')
                continue
            to, o, s, v = result
            if s != 'keep':
                out.append(f'\t\tw[e].shr = {shr[s]};')
            if o != 'keep':
                out.append(f'\t\tw[e].own = {own[o]};')
            if v == '+1':
                out.append('\t\tw[e].ver = (w[e].ver + 1) % VERSIONS;')
            out.append(f'\t\tw[e].st = {to};\n\t\tres = R_DONE')
        out.append('\tfi\n\t}\n}')
    print('\n'.join(out))


def markdown(table):
    for op, rows in table.ops.items():
        for frm, guards, result in rows:
            print(f'| {op} | {frm} | {", ".join(guards) or "–"} | {" ".join(result)} |')


def main():
    if len(sys.argv) < 3 or (sys.argv[1] == 'check') != (len(sys.argv) == 4):
        sys.exit(__doc__)
    table = Table(sys.argv[2])
    if sys.argv[1] == 'check':
        sys.exit(check(table, sys.argv[3]))
    {'promela': promela, 'markdown': markdown}[sys.argv[1]](table)


main()
