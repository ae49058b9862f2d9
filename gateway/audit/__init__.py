"""The loss audit: what was acknowledged is counted as it happens, and held against what is there, to the unit.

    deliver ─▶ sheets, on the board ─▶ lines ─▶ auditor ──audit.v1──▶ Kafka ──▶ stored ─┐
                                                   └─▶ files, while Kafka is away ──────┼─▶ command ─▶ core/reckoning
                                                                          spool/files ──┘

    sheets    a worker counts what it acknowledged, before the answer is written; core/audit: what is kept of an id
    lines     what is posted of each worker and minute, an empty one too: so a minute that has none was not audited
    auditor   in the supervisor: posts the lines; what Kafka does not take within a second waits on disk
    files     <data_dir>/audit: the lines that wait, and the name of the data directory
    stored    what Kafka holds of a time: lines, and the records themselves
    command   `sluicegate audit`: the lines first, then the spools, then the topics, so that nothing moves on unseen

A worker that is killed leaves its sheets on the board, where the supervisor finds them; only with both killed are they lost.
Lines that are lost, and events that had no sheet, make their minute unaudited: it is told, and never taken for complete.
"""
