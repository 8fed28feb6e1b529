// Package asideprom exports what caches do as Prometheus metrics.
//
//	metrics := asideprom.NewCollector()
//	prometheus.MustRegister(metrics)
//	products, err := aside.New(rdb, "product", repo.ProductByID, aside.WithObserver(metrics.Observer()))
//	metrics.Add(products)
//
// Both are needed. Reads, fills and all else that a Cache counts for itself come from its Stats when Prometheus scrapes, so they cost
// a hit nothing. Durations and sizes come from the Observer, which is told of loads, fills and invalidations, not of reads.
//
// The label cache is the name that was given to New. A key is never a label. README.md lists the metrics, and docs/grafana of the
// aside repository has a dashboard and alert rules for them.
package asideprom
