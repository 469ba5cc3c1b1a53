-- Trades of every venue that is followed, as they were committed; numbers are the instrument's own.
CREATE TABLE trades (
    venue       text        NOT NULL,
    symbol      text        NOT NULL,
    epoch       bigint      NOT NULL,
    sequence    bigint      NOT NULL,
    trade_id    text        NOT NULL,
    price       numeric     NOT NULL,
    quantity    numeric     NOT NULL,
    aggressor   smallint    NOT NULL,
    print       boolean     NOT NULL,
    executed_ns bigint      NOT NULL,
    PRIMARY KEY (venue, epoch, symbol, sequence)
);
CREATE INDEX trades_by_time ON trades (venue, epoch, symbol, executed_ns, sequence);

-- How far each venue's events are in the tables of this schema. Written in the transaction of the rows that it covers.
CREATE TABLE checkpoints (
    venue    text   NOT NULL,
    epoch    bigint NOT NULL,
    sequence bigint NOT NULL,
    PRIMARY KEY (venue, epoch)
);
