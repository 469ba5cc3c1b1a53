-- How many processes serve behind an instance's address; 0 is not said.
alter table instances add column workers integer not null default 0;
