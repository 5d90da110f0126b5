# An application that never rests: orders come, are paid, shipped, and some are taken back.
while true; do
    for _ in $(seq 20); do
        echo "START TRANSACTION;
              INSERT INTO orders (customer, amount) SELECT 1 + FLOOR(RAND() * 1000), ROUND(RAND() * 500, 2);
              UPDATE customer SET city = ELT(1 + FLOOR(RAND() * 4), 'Delft', 'Gent', 'Bath', 'Lyon')
               WHERE id = 1 + FLOOR(RAND() * 1000);
              COMMIT;"
    done > /tmp/batch.sql
    echo "UPDATE orders SET state = 'paid' WHERE state = 'new' ORDER BY id LIMIT 15;
          UPDATE orders SET state = 'shipped' WHERE state = 'paid' ORDER BY id LIMIT 10;
          DELETE FROM orders WHERE state = 'new' ORDER BY RAND() LIMIT 1;" >> /tmp/batch.sql
    mysql -h mysql -u root shop < /tmp/batch.sql
    sleep 0.2
done
