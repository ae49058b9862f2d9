"""What Kafka has not acknowledged, kept on this machine's disk until it has: one directory a worker.

    store        what the path asks of a spool (deliver ─▶ copies ─▶ store); tests keep one in memory
    disk_spool   one worker's on disk: it connects the parts, and each part is a file and owns its state

    append ─▶ commits ─▶ one write, one fdatasync ─▶ the future: its sequences
                 │ frames' places                segments: the order of writes and syncs, recovery
                 ▼                               core/record: the bytes
               books                             core/backlog: what waits, and where it stands
                 ▲
    read ◀── replay                              a lane's oldest records
    settle ─▶ books ─▶ sweep                     a segment with nothing left is unlinked, once a newer one is durable
    reject ─▶ rejected                           what Kafka refuses for good is kept apart
    open, adopt ─▶ recovery ─▶ books, sweep      what an earlier life left, or a worker that is gone
                   blocks                        what the disk does not give of it

    ids      names a directory, for receipts     key      the secrets that segments are sealed with
    tasks    what is done in the background      gauges   a spool on the board, and its light
    strays   records whose partition is gone     files    read by somebody who owns none of them: for the audit

Below all of it is disk.py.  Who is spooled is decided in deliver.py, when to append in copies.py.
"""
