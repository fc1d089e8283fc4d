-- Makes renderings.tsv: psql -f renderings.sql > renderings.tsv on PostgreSQL 15 or later (an empty first line is removed).
\set QUIET on
\pset format unaligned
\pset fieldsep '\t'
\pset tuples_only on
\pset null 'NULL'
set timezone='UTC'; set bytea_output='hex';
select setseed(0.42);
create temp table out(o serial, typ text, v text, bin text);
insert into out(typ,v,bin) select 'bool', v::text, encode(boolsend(v),'hex') from (values (true),(false)) t(v);
insert into out(typ,v,bin) select 'int2', v::text, encode(int2send(v),'hex') from (select unnest(array[0,1,-1,9,10,-10,99,100,32767,-32768])::int2 union all select ((random()-0.5)*65000)::int2 from generate_series(1,40)) t(v);
insert into out(typ,v,bin) select 'int4', v::text, encode(int4send(v),'hex') from (select unnest(array[0,1,-1,2147483647,-2147483648])::int4 union all select ((random()-0.5)*4e9)::int4 from generate_series(1,40)) t(v);
insert into out(typ,v,bin) select 'int8', v::text, encode(int8send(v),'hex') from (select unnest(array[0,1,-1,9223372036854775807,-9223372036854775808])::int8 union all select ((random()-0.5)*1.8e19)::int8 from generate_series(1,40)) t(v);
insert into out(typ,v,bin) select 'oid', v::text, encode(oidsend(v),'hex') from (values (0::oid),(1::oid),(4294967295::oid),(16384::oid)) t(v);
insert into out(typ,v,bin) select 'float8', v::text, encode(float8send(v),'hex') from (
 select unnest(array['0','-0','1','-1','0.1','0.3','1e15','1e14','999999999999999','1e16','1e22','1e23','9.999999999999999e22','1e-4','1e-5','0.00012345','5e-324','2.2250738585072014e-308','1.7976931348623157e308','NaN','Infinity','-Infinity','9007199254740993','123456789012345678'])::float8
 union all select power(2.0::float8, n) from generate_series(-300,300,7) n
 union all select power(10.0::float8, n) from generate_series(-30,30) n
 union all select (random()-0.5)*power(10::float8, (random()*40-20)::int) from generate_series(1,300)
 union all select (random()*1e9)::int8/1000.0::float8 from generate_series(1,60)
 union all select (random()*1e18)::int8::float8*1000 from generate_series(1,200)) t(v);
insert into out(typ,v,bin) select 'float4', v::text, encode(float4send(v),'hex') from (
 select unnest(array['0','-0','1','1.1','100000','999999','1e6','1e-4','1e-5','1e-45','3.4028235e38','NaN','Infinity','-Infinity','16777216','8589973000'])::float4
 union all select power(2.0::float8, n)::float4 from generate_series(-120,120,3) n
 union all select ((random()-0.5)*power(10::float8, (random()*40-20)::int))::float4 from generate_series(1,200)
 union all select (random()*1e12)::float4 from generate_series(1,100)) t(v);
insert into out(typ,v,bin) select 'numeric(38,10)', v::text, encode(numeric_send(v),'hex') from (
 select unnest(array[0,1,-1,0.1,-0.0000000001,9999,10000,10001,0.0001,0.00001,100000000,99999999.9999,1234567890123456789012345678.0123456789,-9999999999999999999999999999.9999999999])::numeric(38,10)
 union all select ((random()-0.5)*power(10::float8,(random()*25-8)::int))::numeric(38,10) from generate_series(1,200)) t(v);
insert into out(typ,v,bin) select 'numeric(12,2)', v::text, encode(numeric_send(v),'hex') from (select ((random()-0.5)*power(10::float8,(random()*12-3)::int))::numeric(12,2) from generate_series(1,100)) t(v);
insert into out(typ,v,bin) select 'numeric(38,0)', v::text, encode(numeric_send(v),'hex') from (select unnest(array[0,1,10,10000,100000000,99999999999999999999999999999999999999,-12345678901234567890123456789012345678])::numeric(38,0)) t(v);
insert into out(typ,v,bin) select 'numeric(38,38)', v::text, encode(numeric_send(v),'hex') from (select unnest(array[0,0.1,-0.00000000000000000000000000000000000001,0.99999999999999999999999999999999999999])::numeric(38,38)) t(v);
insert into out(typ,v,bin) select 'text', v, encode(textsend(v),'hex') from (values (''),('a'),('with space'),('ünïcode ☃ 😀'),('quote''s "x"'),('{a,b}'),('NULL')) t(v);
insert into out(typ,v,bin) select 'bytea', v::text, encode(v,'hex') from (values (''::bytea),('\x00'),('\xdeadbeef'),('\x5c27'),(decode(repeat('ff',40),'hex'))) t(v);
insert into out(typ,v,bin) select 'date', v::text, encode(date_send(v),'hex') from (
 select unnest(array['1970-01-01','2000-01-01','1999-12-31','0001-01-01','0001-12-31 BC','0044-03-15 BC','4713-01-01 BC','9999-12-31','10000-01-01','99999-06-15','5874897-12-31','2024-02-29','1900-02-28','1600-02-29'])::date
 union all select '1970-01-01'::date + ((random()-0.5)*1000000)::int from generate_series(1,200)) t(v);
insert into out(typ,v,bin) select 'time', v::text, encode(time_send(v),'hex') from (
 select unnest(array['00:00:00','23:59:59.999999','24:00:00','12:34:56.7','01:02:03.000001','10:00:00.120000'])::time
 union all select '00:00'::time + random()*interval '24 hours' from generate_series(1,60)) t(v);
insert into out(typ,v,bin) select 'timestamp', v::text, encode(timestamp_send(v),'hex') from (
 select unnest(array['1970-01-01','2000-01-01 00:00:00.000001','1999-12-31 23:59:59.999999','0044-03-15 12:00:00.5 BC','4713-01-01 BC','0001-01-01','10000-01-01 01:02:03'])::timestamp
 union all select '1970-01-01'::timestamp + ((random()-0.5)*6e10)*interval '1 second' from generate_series(1,200)) t(v);
insert into out(typ,v,bin) select 'timestamptz', v::text, encode(timestamptz_send(v),'hex') from (
 select unnest(array['1970-01-01','2000-01-01 00:00:00.000001+02','0044-03-15 12:00:00.5 BC','10000-01-01 01:02:03'])::timestamptz
 union all select '1970-01-01'::timestamptz + ((random()-0.5)*6e10)*interval '1 second' from generate_series(1,100)) t(v);
insert into out(typ,v,bin) select 'interval', v::text, encode(interval_send(v),'hex') from (
 select unnest(array['0','1 day','-1 day','1 mon','1 year','-1 year','2 years 3 mons 4 days 05:06:07.89','-1 year -2 mons +3 days -04:05:06.7','1 mon -1 day','-1 mon +1 day','-00:00:00.000001','00:00:00.1','100:00:00','-100:00:00','1 day -00:00:01','-1 days +00:00:01','13 mons','-13 mons','1 year 1 mon 1 day 00:00:01','25 mons 45 days 200:00:00','-5 days','11 mons -30 days +23:59:59.999999','2562047:47:16.854775'])::interval
 union all select make_interval(months=>((random()-0.5)*100)::int*(random()*2)::int, days=>((random()-0.5)*100)::int*(random()*2)::int, secs=>round((((random()-0.5)*1e6)*(random()*2)::int)::numeric,(random()*6)::int)::float8) from generate_series(1,200)) t(v);
insert into out(typ,v,bin) select 'uuid', v::text, encode(uuid_send(v),'hex') from (values ('00000000-0000-0000-0000-000000000000'::uuid),('ffffffff-ffff-ffff-ffff-ffffffffffff'),('a0eebc99-9c0b-4ef8-bb6d-6bb9bd380a11')) t(v);
insert into out(typ,v,bin) select 'jsonb', v::text, encode(jsonb_send(v),'hex') from (values ('null'::jsonb),('{"a": [1, 2, {"b": null}]}'),('"x"'),('1.50')) t(v);
insert into out(typ,v,bin) select 'int4[]', v::text, encode(array_send(v),'hex') from (values ('{}'::int4[]),('{1}'),('{1,NULL,-3}'),('{NULL}')) t(v);
insert into out(typ,v,bin) select 'int8[]', v::text, encode(array_send(v),'hex') from (values ('{}'::int8[]),('{1,2,3}')) t(v);
insert into out(typ,v,bin) select 'bool[]', v::text, encode(array_send(v),'hex') from (values ('{t,f,NULL}'::bool[])) t(v);
insert into out(typ,v,bin) select 'float8[]', v::text, encode(array_send(v),'hex') from (values ('{1.5,NaN,-Infinity,1e20}'::float8[])) t(v);
insert into out(typ,v,bin) select 'text[]', v::text, encode(array_send(v),'hex') from (values ('{}'::text[]),('{a}'),('{"a b","",NULL,"NULL","null","q\"q","b\\b","c,d","{x}","tab	x"}'),('{ü,☃}')) t(v);
insert into out(typ,v,bin) select 'timestamptz[]', v::text, encode(array_send(v),'hex') from (values ('{"2024-01-01 00:00:00+00","1999-12-31 23:59:59.5+00"}'::timestamptz[])) t(v);
insert into out(typ,v,bin) select 'uuid[]', v::text, encode(array_send(v),'hex') from (values ('{a0eebc99-9c0b-4ef8-bb6d-6bb9bd380a11,NULL}'::uuid[])) t(v);
insert into out(typ,v,bin) select 'numeric(10,2)[]', v::text, encode(array_send(v),'hex') from (values ('{1.50,-0.01,0.00}'::numeric(10,2)[])) t(v);
insert into out(typ,v,bin) select 'bytea[]', v::text, encode(array_send(v),'hex') from (values (array['\x00'::bytea,'\xff'])) t(v);
insert into out(typ,v,bin) select 'interval[]', v::text, encode(array_send(v),'hex') from (values ('{"1 day","02:00:00"}'::interval[])) t(v);
insert into out(typ,v,bin) select 'date[]', v::text, encode(array_send(v),'hex') from (values ('{2024-01-01,NULL}'::date[])) t(v);
insert into out(typ,v,bin) select 'int4[][]', v::text, '' from (values ('{{1,2},{3,NULL}}'::int4[])) t(v);
insert into out(typ,v,bin) select 'row', v::text, encode(record_send(v),'hex') from (values (row(1::int4,'a b'::varchar,null::int8)),(row(-5::int4,''::varchar,7::int8)),(row(null::int4,'q"\()'::varchar,0::int8)),(row(1::int4,'plain'::varchar,1::int8))) t(v);
select typ, v, bin from out order by o;
