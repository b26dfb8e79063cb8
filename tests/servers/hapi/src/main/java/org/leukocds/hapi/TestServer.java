package org.leukocds.hapi;

import org.springframework.boot.SpringApplication;
import org.springframework.boot.autoconfigure.SpringBootApplication;
import org.springframework.boot.autoconfigure.orm.jpa.HibernateJpaAutoConfiguration;
import org.springframework.boot.autoconfigure.quartz.QuartzAutoConfiguration;
import org.springframework.context.annotation.Import;

/** A real HAPI FHIR R4 server on loopback, with its FHIR root at /fhir. */
@SpringBootApplication(exclude = {QuartzAutoConfiguration.class, HibernateJpaAutoConfiguration.class})
@Import({StorageConfig.class, FhirEndpoint.class})
public class TestServer {
    public static void main(String[] args) {
        SpringApplication.run(TestServer.class, args);
    }
}
