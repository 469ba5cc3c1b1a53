-- Tries in a row count by user name and the address they come from: nobody locks out others by guessing at their names.
alter table login_tries add column address text not null default '';
alter table login_tries drop constraint login_tries_pkey;
alter table login_tries add primary key (username, address);

-- All tries at a name, and all from an address: how far into the future the tries until now reach, at the pace at which
-- they may come (the generic cell rate algorithm).
create table login_paces (
    subject text primary key,
    reaches timestamptz not null
);
