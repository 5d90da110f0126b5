CREATE USER 'towpath'@'%' IDENTIFIED BY 'towpath';
GRANT REPLICATION SLAVE, REPLICATION CLIENT ON *.* TO 'towpath'@'%';
GRANT SELECT ON shop.* TO 'towpath'@'%';
GRANT XA_RECOVER_ADMIN ON *.* TO 'towpath'@'%';

CREATE DATABASE shop;
CREATE TABLE shop.customer (
    id INT NOT NULL AUTO_INCREMENT PRIMARY KEY,
    name VARCHAR(60) NOT NULL,
    city VARCHAR(40),
    since DATETIME NOT NULL DEFAULT CURRENT_TIMESTAMP
);
CREATE TABLE shop.orders (
    id BIGINT NOT NULL AUTO_INCREMENT PRIMARY KEY,
    customer INT NOT NULL,
    amount DECIMAL(10, 2) NOT NULL,
    state ENUM('new', 'paid', 'shipped') NOT NULL DEFAULT 'new',
    created TIMESTAMP(3) NOT NULL DEFAULT CURRENT_TIMESTAMP(3)
);

SET cte_max_recursion_depth = 100000;
INSERT INTO shop.customer (name, city)
WITH RECURSIVE n (i) AS (SELECT 1 UNION ALL SELECT i + 1 FROM n WHERE i < 1000)
SELECT CONCAT('customer ', i), ELT(1 + i % 4, 'Delft', 'Gent', 'Bath', 'Lyon') FROM n;
INSERT INTO shop.orders (customer, amount)
WITH RECURSIVE n (i) AS (SELECT 1 UNION ALL SELECT i + 1 FROM n WHERE i < 50000)
SELECT 1 + i % 1000, i % 977 + 0.99 FROM n;
