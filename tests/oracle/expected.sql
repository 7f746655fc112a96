-- The points of every account, worked out from the words of the programme (PROGRAM in tpcds.py).
--
-- All money is in cents and all arithmetic in whole numbers of 128 bits; a division that rounds
-- down is `//` of two numbers that are not negative. Sums that would overflow are errors.

CREATE MACRO half_up(numerator, denominator) AS
    (2 * numerator + denominator) // (2 * denominator);

-- An account's purchases in their order; equal instants are ordered by key. A purchase of which
-- everything came back is as good as not made from then on. Keys of returns sort after those of
-- purchases, so that a purchase at the instant of a return still finds what comes back there.
CREATE TABLE history AS
WITH whole AS (
    SELECT channel, number, max(back.occurred_at) AS returned_at
    FROM (
        SELECT channel, number, sum(quantity) AS units FROM line GROUP BY ALL
    )
    JOIN returned AS back USING (channel, number)
    GROUP BY channel, number, units
    HAVING sum(back.quantity) = units
)
SELECT account, channel, number, purchase.occurred_at,
       coalesce(returned_at, TIMESTAMP 'infinity') AS stands_until,
       row_number() OVER (PARTITION BY account ORDER BY purchase.occurred_at, key) AS place,
       date_trunc(
           'month', purchase.occurred_at AT TIME ZONE 'UTC' AT TIME ZONE 'America/New_York'
       ) AS month
FROM purchase
LEFT JOIN whole USING (channel, number);

-- Which channels a purchase finds alive: those of the purchases so far, itself included, that lie
-- at most so many days back; and whether its own was alive without it. `legs` are the other ones
-- that stay so for good: of their three newest purchases in the window one is never wholly undone.
CREATE MACRO alive(days) AS TABLE
WITH used AS (
    SELECT this.channel, this.number, other.channel AS used,
           other.place < this.place AS is_earlier,
           other.stands_until = TIMESTAMP 'infinity' AS stays,
           row_number() OVER (
               PARTITION BY this.channel, this.number, other.channel ORDER BY other.place DESC
           ) AS age
    FROM history AS this
    JOIN history AS other
      ON other.account = this.account AND other.place <= this.place
     AND other.occurred_at >= this.occurred_at - to_days(days)
     AND other.stands_until >= this.occurred_at
)
SELECT channel, number,
       count(DISTINCT used) AS channels,
       bool_or(used = channel AND is_earlier) AS was_alive,
       count(DISTINCT used) FILTER (used <> channel AND stays AND age <= 3) AS legs
FROM used
GROUP BY ALL;

-- The visits to a store that pay: while fewer than two that paid in the month still stand.
CREATE TABLE visit AS
WITH RECURSIVE nth AS (
    SELECT *, row_number() OVER (PARTITION BY account, month ORDER BY place) AS nth
    FROM history
    WHERE channel = 'store'
), walk AS (
    SELECT account, month, nth, number, TRUE AS pays, [stands_until] AS paid
    FROM nth
    WHERE nth = 1
    UNION ALL
    SELECT account, month, nth, number, len(standing) < 2,
           if(len(standing) < 2, list_append(standing, stands_until), standing)
    FROM (
        SELECT nth.*, list_filter(paid, until -> until >= occurred_at) AS standing
        FROM walk
        JOIN nth ON nth.account = walk.account AND nth.month = walk.month
                AND nth.nth = walk.nth + 1
    )
)
SELECT 'store' AS channel, number, pays FROM walk;

-- A purchase's money and units, in all and by the departments that rules name.
CREATE TABLE basket AS
SELECT channel, number, sum(amount) AS paid,
       sum(half_up(3 * amount, 1000)) AS web_points,
       coalesce(sum(amount) FILTER (department IN ('Books', 'Music')), 0) AS media_paid,
       count(*) FILTER (department IN ('Books', 'Music')) AS media_lines,
       coalesce(sum(amount) FILTER (department = 'Electronics'), 0) AS electronics_paid,
       coalesce(sum(quantity) FILTER (department = 'Shoes'), 0) AS shoes
FROM line
GROUP BY ALL;

-- What each rule pays for each purchase.
CREATE TABLE paid AS
WITH spend AS (
    SELECT *, paid // 100 AS base,
           if(channel = 'web' AND paid >= 1000000, web_points, 0) AS web
    FROM basket
)
SELECT account, channel, number, base, web,
       if(paid = 0, 0, (base + web) * media_paid // greatest(paid, 1)) AS media,
       if(paid = 0, 0, half_up((base + web) * electronics_paid, 2 * greatest(paid, 1)))
           AS electronics,
       if(two_months.channels >= 2, (base + web) // 10, 0) AS loyal,
       shoes,
       4 * media_lines AS shelf,
       if(pays, 20, 0) AS visit,
       if(month.channels = 2 AND NOT month.was_alive, 100, 0) AS second,
       if(quarter.channels = 3 AND NOT quarter.was_alive, 250, 0) AS third,
       if(ever.was_alive, 0, 50) AS first,
       if(month.legs < 1, second, 0) AS second_fallen,
       if(quarter.legs < 2, third, 0) AS third_fallen,
       if(two_months.legs < 1, loyal, 0) AS loyal_fallen
FROM spend
JOIN history USING (channel, number)
JOIN alive(30) AS month USING (channel, number)
JOIN alive(60) AS two_months USING (channel, number)
JOIN alive(90) AS quarter USING (channel, number)
JOIN alive(36500) AS ever USING (channel, number)
LEFT JOIN visit USING (channel, number);

-- How much of each purchase came back, by money. A unit is worth its part of its line, and several
-- units of a line together what is in all their part of it, rounded down. Where nothing was
-- charged, units stand for money.
CREATE TABLE back AS
WITH units AS (
    SELECT channel, number, position, sum(quantity) AS quantity FROM returned GROUP BY ALL
), worth AS (
    SELECT channel, number, department, is_free,
           if(is_free, line.quantity, amount) AS whole,
           if(is_free, 1, amount) * coalesce(units.quantity, 0)
               // if(is_free, 1, line.quantity) AS part
    FROM line
    JOIN (SELECT channel, number, paid = 0 AS is_free FROM basket) USING (channel, number)
    LEFT JOIN units USING (channel, number, position)
), summed AS (
    SELECT channel, number, sum(whole) AS whole, sum(part) AS part,
           sum(whole) FILTER (department IN ('Books', 'Music')) AS media_whole,
           sum(part) FILTER (department IN ('Books', 'Music')) AS media_part,
           sum(whole) FILTER (department = 'Electronics') AS electronics_whole,
           sum(part) FILTER (department = 'Electronics') AS electronics_part,
           sum(whole) FILTER (department = 'Shoes') AS shoes_whole,
           sum(part) FILTER (department = 'Shoes') AS shoes_part
    FROM worth
    GROUP BY ALL
)
-- Points that stand on lines which cost nothing stand on the whole purchase.
SELECT channel, number, whole, part,
       if(media_whole > 0, media_whole, whole) AS media_whole,
       if(media_whole > 0, media_part, part) AS media_part,
       if(electronics_whole > 0, electronics_whole, whole) AS electronics_whole,
       if(electronics_whole > 0, electronics_part, part) AS electronics_part,
       if(shoes_whole > 0, shoes_whole, whole) AS shoes_whole,
       if(shoes_whole > 0, shoes_part, part) AS shoes_part
FROM summed;

-- What the returns of each purchase take back in all: of the points of each rule the part that came
-- back of the lines they stand on, and all of a bonus for which too few channels stayed; the sum of
-- these exact fractions rounded half up, once.
CREATE TABLE lost AS
WITH owed AS (
    SELECT *, second_fallen + third_fallen + loyal_fallen AS fallen,
           (base + web + loyal + visit + second + third + first - fallen) * part AS on_all,
           (media + shelf) * media_part AS on_media,
           electronics * electronics_part AS on_electronics,
           shoes * shoes_part AS on_shoes
    FROM paid
    JOIN back USING (channel, number)
)
SELECT channel, number,
       fallen + on_all // whole + on_media // media_whole
           + on_electronics // electronics_whole + on_shoes // shoes_whole
           + half_up(
               on_all % whole * media_whole * electronics_whole * shoes_whole
                   + on_media % media_whole * whole * electronics_whole * shoes_whole
                   + on_electronics % electronics_whole * whole * media_whole * shoes_whole
                   + on_shoes % shoes_whole * whole * media_whole * electronics_whole,
               whole * media_whole * electronics_whole * shoes_whole
           ) AS points,
       fallen
FROM owed;

CREATE TABLE expected AS
SELECT account, sum(base) AS base, sum(web) AS web, sum(media) AS media,
       sum(electronics) AS electronics, sum(loyal) AS loyal, sum(shoes) AS shoes,
       sum(shelf) AS shelf, sum(visit) AS visit, sum(second) AS second, sum(third) AS third,
       sum(first) AS first, -sum(lost.points) AS return
FROM paid
JOIN lost USING (channel, number)
GROUP BY ALL;
