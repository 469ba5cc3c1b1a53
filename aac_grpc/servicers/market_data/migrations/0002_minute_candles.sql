-- Closed candles of one minute, made of kept trades; never changed.
CREATE TABLE minute_candles (
    venue    text    NOT NULL,
    symbol   text    NOT NULL,
    epoch    bigint  NOT NULL,
    start_ns bigint  NOT NULL,
    open     numeric NOT NULL,
    high     numeric NOT NULL,
    low      numeric NOT NULL,
    close    numeric NOT NULL,
    volume   numeric NOT NULL,
    notional numeric NOT NULL,
    trades   bigint  NOT NULL,
    PRIMARY KEY (venue, epoch, symbol, start_ns)
);

-- Up to which minute each instrument's candles are in minute_candles. Written in the transaction of those candles.
CREATE TABLE minute_marks (
    venue    text   NOT NULL,
    symbol   text   NOT NULL,
    epoch    bigint NOT NULL,
    until_ns bigint NOT NULL,
    PRIMARY KEY (venue, epoch, symbol)
);
