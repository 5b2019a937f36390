module zvsock

go 1.19
