-- What both sides are given: purchases with their lines, and what comes back of them.
--
-- Parameters: `every` keeps one account in that many; `returns` is `none`, `partial` (what TPC-DS
-- brings back) or `whole` (and one purchase in three comes back whole).
--
-- Left out, for both sides: lines without an item, a quantity or a price; tickets without a
-- customer, a date, a time or any such line; returns without a quantity, a date or a time, or of a
-- line that was left out. dsdgen repeats a ticket's customer, date and time on each of its lines
-- and blanks some of them, so that the greatest is the only one.

-- Times are kept to a quarter of a day: purchases at one instant and windows that end on one are
-- then no rarity.
CREATE MACRO instant(d_date, t_hour) AS d_date::TIMESTAMP + to_hours(t_hour // 6 * 6);

-- A customer of TPC-DS buys five times in five years. Those with an even number shop alone; the
-- odd ones share an account, eight to one, so that there are long histories too.
CREATE MACRO account_number(customer) AS
    if(customer % 2 = 0, customer // 2, customer // 16);
CREATE MACRO account_name(customer) AS
    if(customer % 2 = 0, 'alone-', 'shared-') || account_number(customer);

CREATE TABLE sold AS
SELECT 'store' AS channel, ss_ticket_number AS number, ss_customer_sk AS customer,
       ss_sold_date_sk AS date_sk, ss_sold_time_sk AS time_sk,
       ss_item_sk AS item, ss_quantity AS quantity, ss_net_paid AS paid
FROM store_sales
UNION ALL
SELECT 'catalog', cs_order_number, cs_bill_customer_sk, cs_sold_date_sk, cs_sold_time_sk,
       cs_item_sk, cs_quantity, cs_net_paid
FROM catalog_sales
UNION ALL
SELECT 'web', ws_order_number, ws_bill_customer_sk, ws_sold_date_sk, ws_sold_time_sk,
       ws_item_sk, ws_quantity, ws_net_paid
FROM web_sales;

CREATE TABLE brought AS
SELECT 'store' AS channel, sr_ticket_number AS number, sr_item_sk AS item,
       sr_return_quantity AS quantity,
       sr_returned_date_sk AS date_sk, sr_return_time_sk AS time_sk
FROM store_returns
UNION ALL
SELECT 'catalog', cr_order_number, cr_item_sk, cr_return_quantity,
       cr_returned_date_sk, cr_returned_time_sk
FROM catalog_returns
UNION ALL
SELECT 'web', wr_order_number, wr_item_sk, wr_return_quantity,
       wr_returned_date_sk, wr_returned_time_sk
FROM web_returns;

CREATE TABLE purchase AS
WITH ticket AS (
    SELECT channel, number, max(customer) AS customer,
           max(date_sk) AS date_sk, max(time_sk) AS time_sk
    FROM sold
    GROUP BY ALL
    HAVING bool_or(item IS NOT NULL AND quantity IS NOT NULL AND paid IS NOT NULL)
)
SELECT channel, number, account_name(customer) AS account,
       instant(d_date, t_hour) AS occurred_at,
       'purchase/' || channel || '//' || number AS key
FROM ticket
JOIN date_dim ON d_date_sk = date_sk
JOIN time_dim ON t_time_sk = time_sk
WHERE account_number(customer) % getvariable('every') = 1 % getvariable('every');

CREATE TABLE line AS
SELECT channel, number,
       row_number() OVER (PARTITION BY channel, number ORDER BY item) - 1 AS position,
       'item-' || item AS sku,
       coalesce(i_category, '') AS department,
       concat_ws('/', i_category, if(i_category IS NULL, NULL, i_class)) AS category,
       quantity, (paid * 100)::BIGINT AS amount
FROM sold
SEMI JOIN purchase USING (channel, number)
JOIN item ON i_item_sk = item
WHERE quantity IS NOT NULL AND paid IS NOT NULL;

-- What comes back of one purchase at one instant is one return, the `nth` of that purchase. A
-- purchase of which TPC-DS would bring back everything has no returns here: those are added below.
CREATE TABLE returned AS
WITH timed AS (
    SELECT channel, number, 'item-' || item AS sku, quantity,
           greatest(instant(d_date, t_hour), purchase.occurred_at) AS occurred_at
    FROM brought
    JOIN purchase USING (channel, number)
    JOIN date_dim ON d_date_sk = date_sk
    JOIN time_dim ON t_time_sk = time_sk
    WHERE quantity IS NOT NULL
), bought AS (
    SELECT channel, number, sum(quantity) AS units FROM line GROUP BY ALL
)
SELECT channel, number, occurred_at, sku, position, timed.quantity,
       dense_rank() OVER (PARTITION BY channel, number ORDER BY occurred_at) AS nth
FROM timed
JOIN line USING (channel, number, sku)
JOIN bought USING (channel, number)
WHERE getvariable('returns') <> 'none'
QUALIFY sum(timed.quantity) OVER (PARTITION BY channel, number) < units;

-- One purchase in three comes back whole: all that is left of it, within two months after the last
-- that happened to it, some at once.
INSERT INTO returned
WITH last AS (
    SELECT channel, number, max(occurred_at) AS occurred_at, max(nth) AS nth
    FROM (
        SELECT channel, number, occurred_at, 0 AS nth FROM purchase
        UNION ALL
        SELECT channel, number, occurred_at, nth FROM returned
    )
    WHERE getvariable('returns') = 'whole' AND number % 3 = 0
    GROUP BY ALL
), gone AS (
    SELECT channel, number, position, sum(quantity) AS quantity FROM returned GROUP BY ALL
)
SELECT channel, number, occurred_at + to_days(number % 60), sku, position,
       line.quantity - coalesce(gone.quantity, 0) AS quantity, nth + 1
FROM last
JOIN line USING (channel, number)
LEFT JOIN gone USING (channel, number, position)
WHERE line.quantity > coalesce(gone.quantity, 0);
