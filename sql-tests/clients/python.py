"""What Python's drivers do without being asked, against a server: python.py PORT. Fails at the first thing that differs."""

import asyncio
import sys

import asyncpg
import psycopg

PORT = int(sys.argv[1])


def psycopg_session():
    with psycopg.connect(f"host=127.0.0.1 port={PORT} user=root dbname=dev") as session:
        session.autocommit = True
        session.execute("CREATE TABLE t (id INT PRIMARY KEY, numbers INT[])")
        session.autocommit = False
        # A block of its own, begun unasked: it sees what it writes.
        session.cursor().executemany("INSERT INTO t VALUES (%s, %s)", [(n, [n, None]) for n in range(100)])
        assert session.execute("SELECT count(*) FROM t").fetchone() == (100,)
        session.rollback()
        assert session.execute("SELECT count(*) FROM t").fetchone() == (0,)
        session.cursor().executemany("INSERT INTO t VALUES (%s, %s)", [(n, [n, None]) for n in range(100)])
        session.commit()
        try:
            with session.transaction():
                with session.transaction():
                    session.execute("DELETE FROM t")
                    session.execute("SELECT nosuch")
        except psycopg.errors.UndefinedColumn:
            pass
        assert session.execute("SELECT count(*) FROM t").fetchone() == (100,)
        with session.cursor("named") as cursor:
            cursor.itersize = 30
            cursor.execute("SELECT id FROM t ORDER BY id")
            assert [row[0] for row in cursor] == list(range(100))
        for binary in (False, True):
            assert session.execute("SELECT numbers FROM t WHERE id = %s", (7,), binary=binary).fetchone() == ([7, None],)
        # Text comes without a type.
        assert session.execute("SELECT %s || %s", ("a", "b")).fetchone() == ("ab",)
        assert session.execute("SELECT id FROM t ORDER BY id LIMIT %s OFFSET %s", (1, 7)).fetchone() == (7,)


async def asyncpg_session():
    session = await asyncpg.connect(host="127.0.0.1", port=PORT, user="root", database="dev", timeout=10)
    assert [tuple(row) for row in await session.fetch("SELECT id FROM t WHERE id > $1 ORDER BY id", 97)] == [(98,), (99,)]
    # It looks the type of the array up, with an array of OIDs.
    assert await session.fetchval("SELECT numbers FROM t WHERE id = $1", 7) == [7, None]
    await session.execute("INSERT INTO t VALUES ($1, $2)", 2000, [1, None, 3])
    assert await session.fetchval("SELECT numbers FROM t WHERE id = $1", 2000) == [1, None, 3]
    assert await session.fetchval("SELECT $1::text[]", ["a", None, ""]) == ["a", None, ""]
    assert await session.fetchval("SELECT id FROM t ORDER BY id LIMIT $1 OFFSET $2", 1, 7) == 7
    for statement in ("SELECT nosuch", "SELECT 1 / (id - id) FROM t"):
        try:
            await asyncio.wait_for(session.fetch(statement), 10)
        except asyncpg.PostgresError:
            continue
        raise AssertionError(f"{statement} went well")
    async with session.transaction():
        await session.execute("INSERT INTO t (id) VALUES ($1)", 1000)
        assert await session.fetchval("SELECT count(*) FROM t WHERE id = 1000") == 1
    await session.close()
    async with asyncpg.create_pool(host="127.0.0.1", port=PORT, user="root", database="dev", min_size=1, max_size=2) as pool:
        for expected in (1, 2):
            async with pool.acquire() as session:
                assert await session.fetchval("SELECT $1::int", expected) == expected


psycopg_session()
asyncio.run(asyncio.wait_for(asyncpg_session(), 60))
print("psycopg and asyncpg: all as expected")
